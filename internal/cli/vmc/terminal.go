package vmc

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"

	"golang.org/x/term"
)

// terminal is the dialogue with the user: results and status lines on out, questions
// and errors on err. With --json stdout is for JSON alone, and the lines go to err.
type terminal struct {
	in       *bufio.Reader
	keyboard *os.File // in, where it is a terminal
	hasInput bool     // there is an in
	out, err io.Writer
	results  io.Writer // stdout, unless -q
	printed  bool      // JSON was printed
	done     []string  // what was done so far, for the JSON of commands that list nothing
	shown    bool      // out is a terminal
	redraws  bool      // and one where a line may be written over
	drawn    string
	colors   bool // on out
	reds     bool // on err
	never    bool // -n: never ask
}

func newTerminal(std Streams, opts options) *terminal {
	t := &terminal{in: bufio.NewReader(strings.NewReader("")), out: std.Out, err: std.Err, results: std.Out, never: opts.noPrompt}
	if opts.json {
		t.out = std.Err
	}
	if t.hasInput = std.In != nil; t.hasInput {
		t.in = bufio.NewReader(std.In)
		t.keyboard = asTerminal(std.In)
	}
	t.shown = asTerminal(t.out) != nil
	t.redraws = t.shown && std.Env("TERM") != "dumb"
	if !opts.noColor && std.Env("NO_COLOR") == "" && std.Env("TERM") != "dumb" {
		t.colors, t.reds = t.shown, asTerminal(t.err) != nil
	}
	if opts.quiet {
		t.out, t.results, t.shown, t.redraws = io.Discard, io.Discard, false, false
	}
	return t
}

// asTerminal is the file behind a stream, if it is a terminal.
func asTerminal(stream any) *os.File {
	if f, ok := stream.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

const (
	red   = "31"
	green = "32"
)

func (t *terminal) color(code, text string) string {
	if !t.colors {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// complain prints on err what went wrong.
func (t *terminal) complain(text string) {
	text = printable(text)
	if t.reds {
		text = "\x1b[" + red + "m" + text + "\x1b[0m"
	}
	fmt.Fprintln(t.err, text)
}

var control = regexp.MustCompile(`\x1b\[[0-9;:]*m|[\x00-\x08\x0a-\x1f\x7f\x{80}-\x{9f}]`)

// harmless takes from an app's text what would make a terminal do more than print in
// colours.
func harmless(text string) string {
	return control.ReplaceAllStringFunc(text, func(c string) string {
		if strings.HasSuffix(c, "m") {
			return c
		}
		return ""
	})
}

// printable is harmless for a text of several lines.
func printable(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = harmless(line)
	}
	return strings.Join(lines, "\n")
}

// say prints a line of the result. A terminal is spared what others put into it.
func (t *terminal) say(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if t.shown {
		text = printable(text)
	}
	fmt.Fprintln(t.out, text)
}

// good prints a line that says that it worked.
func (t *terminal) good(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	t.done = append(t.done, text)
	fmt.Fprintln(t.out, t.color(green, printable(text)))
}

// ok ends the line of something that was done.
func (t *terminal) ok(what string) {
	t.done = append(t.done, strings.TrimSpace(what))
	fmt.Fprintln(t.out, t.color(green, "OK"))
}

// step prints what is being done and, once it is, OK.
func (t *terminal) step(what string, do func() error) error {
	fmt.Fprint(t.out, printable(what)+": ")
	if err := do(); err != nil {
		fmt.Fprintln(t.out)
		return err
	}
	t.ok(what)
	return nil
}

// progress writes a percentage over the line that begins with what; only on terminals.
func (t *terminal) progress(what string, done, total int64) {
	if !t.redraws || total == 0 {
		return
	}
	if line := fmt.Sprintf("\r%s: %d%%\x1b[K", what, done*100/total); line != t.drawn {
		t.drawn = line
		fmt.Fprint(t.out, line)
	}
}

// rewind begins the line of a step again, over its progress.
func (t *terminal) rewind(what string) {
	if t.redraws {
		fmt.Fprintf(t.out, "\r%s: \x1b[K", what)
	}
}

// printJSON prints an API body.
func (t *terminal) printJSON(v any) error { return t.encode(v, "  ") }

// printJSONLine prints one of many values, in a line.
func (t *terminal) printJSONLine(v any) error { return t.encode(v, "") }

func (t *terminal) encode(v any, indent string) error {
	t.printed = true
	enc := json.NewEncoder(t.results)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", indent)
	return enc.Encode(v)
}

// mayAsk tells that somebody sits there to answer.
func (t *terminal) mayAsk() bool { return t.keyboard != nil && !t.never }

// errNoAnswer is what a question gets when nobody can answer it.
var errNoAnswer = errors.New("no answer")

// ask asks for a line. Where nobody can be asked the default is taken; where there is
// none, a line of the input is, unless -n forbids it: then it is errNoAnswer.
func (t *terminal) ask(ctx context.Context, question, preset string) (string, error) {
	if preset != "" && !t.mayAsk() {
		return preset, nil
	}
	if t.never {
		return "", errNoAnswer
	}
	if t.keyboard == nil {
		return t.answer(ctx)
	}
	for {
		fmt.Fprint(t.err, printable(question)+defaultMark(preset)+": ")
		line, err := t.line(ctx)
		if err != nil {
			fmt.Fprintln(t.err) // what is said next begins a line
		}
		if errors.Is(err, io.EOF) {
			err = errInterrupted // Ctrl-D
		}
		if line = cmp.Or(line, preset); line != "" || err != nil {
			return line, err
		}
	}
}

// answer takes a line of an input that nobody types.
func (t *terminal) answer(ctx context.Context) (string, error) {
	line, err := t.line(ctx)
	if line == "" && (err == nil || errors.Is(err, io.EOF)) {
		err = errNoAnswer
	}
	return line, err
}

func defaultMark(preset string) string {
	if preset == "" {
		return ""
	}
	return " [" + preset + "]"
}

// confirm asks a question to answer with yes or no.
func (t *terminal) confirm(ctx context.Context, question string, preset bool) (bool, error) {
	mark := "yN"
	if preset {
		mark = "Yn"
	}
	for {
		answer, err := t.ask(ctx, question, mark)
		if err != nil {
			return false, err
		}
		switch strings.ToLower(answer) {
		case "y", "yes":
			return true, nil
		case "n", "no":
			return false, nil
		case "yn":
			return preset, nil
		}
		fmt.Fprintln(t.err, "Unknown answer, please try again!")
	}
}

// choose lets one of several be chosen by number, text or the beginning of the text.
func (t *terminal) choose(ctx context.Context, question string, choices []string) (string, error) {
	if t.keyboard != nil && !t.never {
		for i, c := range choices {
			fmt.Fprintf(t.err, "%d: %s\n", i+1, c)
		}
	}
	for {
		answer, err := t.ask(ctx, question, "")
		if err != nil {
			return "", err
		}
		if c, ok := match(answer, choices); ok {
			return c, nil
		}
		fmt.Fprintln(t.err, "Unknown answer, please try again!")
	}
}

func match(answer string, choices []string) (string, bool) {
	if n, err := strconv.Atoi(answer); err == nil && n >= 1 && n <= len(choices) {
		return choices[n-1], true
	}
	found := ""
	for _, c := range choices {
		if strings.EqualFold(c, answer) {
			return c, true
		}
		if len(answer) <= len(c) && strings.EqualFold(c[:len(answer)], answer) {
			if found != "" {
				return "", false
			}
			found = c
		}
	}
	return found, found != ""
}

// password asks and shows a star for each letter.
func (t *terminal) password(ctx context.Context, question string) (string, error) {
	if t.keyboard == nil || t.never {
		return t.ask(ctx, question, "")
	}
	ctx, raw, err := t.raw(ctx, "", "")
	if err != nil {
		return "", err
	}
	defer func() {
		raw.restore()
		fmt.Fprintln(t.err)
	}()
	fmt.Fprint(t.err, question+": ")
	return await(ctx, t.hidden)
}

// errInterrupted is Ctrl-C where the terminal makes no signal of it.
var errInterrupted = errors.New("interrupted")

// hidden reads a line from a raw terminal, where nobody else edits it.
func (t *terminal) hidden() (string, error) {
	var typed []rune
	for {
		r, _, err := t.in.ReadRune()
		if err != nil {
			return "", err
		}
		switch r {
		case '\r', '\n':
			if len(typed) > 0 {
				return string(typed), nil
			}
		case ctrlC, ctrlD:
			return "", errInterrupted
		case ctrlZ:
			suspend()
		case backspace, del:
			if len(typed) > 0 {
				typed = typed[:len(typed)-1]
				fmt.Fprint(t.err, "\b \b")
			}
		case ctrlU:
			fmt.Fprint(t.err, strings.Repeat("\b \b", len(typed)))
			typed = nil
		default:
			if r >= ' ' {
				typed = append(typed, r)
				fmt.Fprint(t.err, "*")
			}
		}
	}
}

const (
	ctrlC     = 3
	ctrlD     = 4
	ctrlU     = 21
	ctrlZ     = 26
	backspace = 8
	del       = 127
)

// line reads one line, without its end; the last one need not have one.
func (t *terminal) line(ctx context.Context) (string, error) {
	line, err := await(ctx, func() (string, error) { return t.in.ReadString('\n') })
	if line != "" && errors.Is(err, io.EOF) {
		err = nil
	}
	return strings.TrimSpace(line), err
}

// await returns early when ctx ends: a read from a terminal cannot be interrupted.
func await(ctx context.Context, read func() (string, error)) (string, error) {
	type result struct {
		text string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := read()
		done <- result{text, err}
	}()
	select {
	case r := <-done:
		return r.text, r.err
	case <-ctx.Done():
		return "", ctx.Err()
	}
}
