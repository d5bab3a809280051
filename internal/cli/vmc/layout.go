package vmc

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/text/width"
)

// table draws vmc's box around rows, the first of which are the headings.
func table(rows [][]string) string {
	rows, widths := even(rows)
	var b strings.Builder
	rule := func() {
		for _, w := range widths {
			b.WriteString("+" + strings.Repeat("-", w+2))
		}
		b.WriteString("+\n")
	}
	rule()
	for n, row := range rows {
		b.WriteString("| " + strings.Join(row, " | ") + " |\n")
		if n == 0 {
			rule()
		}
	}
	rule()
	return b.String()
}

// even gives all rows the same number of cells, and all cells of a column the same width.
func even(rows [][]string) (same [][]string, widths []int) {
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], columns(visible(cell)))
		}
	}
	for _, row := range rows {
		cells := make([]string, len(widths))
		for i, w := range widths {
			if i < len(row) {
				cells[i] = visible(row[i])
			}
			cells[i] += strings.Repeat(" ", w-columns(cells[i]))
		}
		same = append(same, cells)
	}
	return same, widths
}

var controls = regexp.MustCompile(`[\x00-\x1f\x7f\x{80}-\x{9f}]`)

// visible writes out what would break a line or do something to a terminal.
func visible(cell string) string {
	return controls.ReplaceAllStringFunc(cell, func(c string) string { return strings.Trim(strconv.QuoteToASCII(c), `"`) })
}

// columns is how wide a text is on a terminal.
func columns(text string) (n int) {
	for _, r := range text {
		n += columnsOf(r)
	}
	return n
}

// cut shortens a text to what fits so many columns.
func cut(text string, width int) string {
	for i, r := range text {
		if width -= columnsOf(r); width < 0 {
			return text[:i]
		}
	}
	return text
}

func columnsOf(r rune) int {
	if unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf) {
		return 0 // written over the letter before it, or nothing to see
	}
	switch width.LookupRune(r).Kind() {
	case width.EastAsianWide, width.EastAsianFullwidth:
		return 2
	}
	return 1
}

// show prints a table below an empty line, or a sentence where there are no rows.
func (t *terminal) show(none string, rows [][]string) {
	if len(rows) <= 1 {
		t.say("%s", none)
		return
	}
	fmt.Fprint(t.out, "\n"+table(rows))
}

// size writes bytes as vmc does, with so many decimals.
func size(n int64, decimals int) string {
	f := float64(n)
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%dB", n)
	case n < 1<<20:
		return fmt.Sprintf("%.*fK", decimals, f/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.*fM", decimals, f/(1<<20))
	default:
		return fmt.Sprintf("%.*fG", decimals, f/(1<<30))
	}
}

func megabytes(mb int) string { return size(int64(mb)<<20, 1) }

var memPattern = regexp.MustCompile(`^(\d{1,7})([mMgG]?)[bB]?$`)

// parseMem reads 256, 256M and 1G as MB.
func parseMem(text string) (int, error) {
	m := memPattern.FindStringSubmatch(strings.TrimSpace(text))
	n := 0
	if m != nil {
		n, _ = strconv.Atoi(m[1]) // seven digits at most
		if strings.EqualFold(m[2], "g") {
			n *= 1024
		}
	}
	if n < 1 {
		return 0, fail("Write it as 64M, 256M or 1G.", "Invalid memory size '%s'", text)
	}
	return n, nil
}

// formatMem writes MB as parseMem reads it.
func formatMem(mb int) string {
	if mb >= 1024 && mb%1024 == 0 {
		return fmt.Sprintf("%dG", mb/1024)
	}
	return fmt.Sprintf("%dM", mb)
}

// uptime writes seconds as days, hours, minutes and seconds.
func uptime(seconds float64) string {
	s := int64(seconds)
	return fmt.Sprintf("%dd:%dh:%dm:%ds", s/86400, s/3600%24, s/60%60, s%60)
}

// stamp writes a time of the server in local time.
func stamp(unix int64) string { return time.Unix(unix, 0).Format("01/02/2006 03:04PM") }

// scale turns a count, or a change such as +2 or -1, into a new count.
func scale(now int, arg string) (int, error) {
	n, err := strconv.Atoi(strings.TrimPrefix(arg, "+"))
	if err != nil || strings.HasPrefix(arg, "+-") || n > 1<<20 || n < -1<<20 {
		return 0, fail("Give a number such as 3, or a change such as +1 or -1.", "Invalid number of instances '%s'", arg)
	}
	if arg[0] == '+' || arg[0] == '-' {
		n += now
	}
	if n < 1 {
		return 0, fail("", "There must be at least 1 instance.")
	}
	return n, nil
}
