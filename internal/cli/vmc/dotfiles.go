package vmc

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"
	"go.yaml.in/yaml/v3"

	"cloudlet/controller/api"
)

// dotFiles are the files that vmc keeps in the home folder. Writers replace them as a
// whole, so that a reader needs no lock; who changes one holds ~/.vmc_lock meanwhile.
type dotFiles struct {
	home   string
	tokens string // instead of ~/.vmc_token
}

func (d dotFiles) name(base string) string { return filepath.Join(d.home, base) }

func (d dotFiles) tokenFile() string {
	if d.tokens != "" {
		return d.tokens
	}
	return d.name(".vmc_token")
}

// readTarget is the chosen target, or "".
func (d dotFiles) readTarget() (string, error) {
	data, err := readIfThere(d.name(".vmc_target"))
	text := strings.TrimSpace(string(data))
	if err != nil || text == "" {
		return "", err
	}
	target := api.NormalTarget(text)
	if !isTarget(target) {
		return "", fail("`vmc target URL` writes it anew.", "%s has %.80q in it, which is not the URL of a cloud", d.name(".vmc_target"), text)
	}
	return target, nil
}

func (d dotFiles) writeTarget(target string) error {
	return d.write(d.name(".vmc_target"), []byte(target+"\n"))
}

// target is the chosen one for messages.
func (d dotFiles) target() string {
	if target, err := d.readTarget(); err == nil && target != "" {
		return target
	}
	return fallbackTarget
}

// readTokens maps targets to tokens.
func (d dotFiles) readTokens() (map[string]string, error) {
	tokens, err := readMap(d.tokenFile())
	var p *problem
	if errors.As(err, &p) {
		p.hint = "`vmc logout` removes it, `vmc login` makes a new one then."
	}
	return tokens, err
}

func (d dotFiles) storeToken(target, token string) error {
	return d.changeMap(d.tokenFile(), func(m map[string]string) { m[target] = token })
}

// dropTokens logs out of every target.
func (d dotFiles) dropTokens() error {
	if err := os.Remove(d.tokenFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// readInstances maps the names that crash listings gave to instance ids.
func (d dotFiles) readInstances() (map[string]string, error) {
	return readMap(d.name(".vmc_instances"))
}

// storeInstances replaces all names of an app.
func (d dotFiles) storeInstances(app string, ids map[string]string) error {
	return d.changeMap(d.name(".vmc_instances"), func(m map[string]string) {
		for name := range m {
			if i := strings.LastIndexByte(name, '-'); i >= 0 && name[:i] == app {
				delete(m, name)
			}
		}
		for name, id := range ids {
			m[name] = id
		}
	})
}

// readAliases maps aliases to commands.
func (d dotFiles) readAliases() (map[string]string, error) {
	path := d.name(".vmc_aliases")
	d.renameOldAliases(path)
	data, err := readIfThere(path)
	if err != nil {
		return nil, err
	}
	aliases := map[string]string{}
	if err := yaml.Unmarshal(data, &aliases); err != nil {
		return nil, fail("Correct or remove it.", "%s is not a YAML map of aliases: %v", path, err)
	}
	return aliases, nil
}

// renameOldAliases finds the aliases under the name that releases before 0.3.10 gave them.
// Link fails where the new file is there already, so that nothing is ever lost.
func (d dotFiles) renameOldAliases(path string) {
	old := d.name(".vmc-aliases")
	if err := os.Link(old, path); err == nil {
		os.Remove(old) //nolint:errcheck // it is the same file, and does no harm
	}
}

// changeAliases rewrites the aliases.
func (d dotFiles) changeAliases(change func(map[string]string)) error {
	return d.locked(func() error {
		aliases, err := d.readAliases()
		if err != nil {
			return err
		}
		change(aliases)
		data, err := yaml.Marshal(aliases)
		if err != nil {
			return err
		}
		return writeAtomically(d.name(".vmc_aliases"), data)
	})
}

// alias is the command, perhaps with arguments, that a first word stands for. A broken file is the business of
// the commands about aliases, not of all others.
func (d dotFiles) alias(word string) string {
	if aliases, err := d.readAliases(); err == nil {
		if command, ok := aliases[word]; ok {
			return command
		}
	}
	return word
}

func readIfThere(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

func readMap(path string) (map[string]string, error) {
	data, err := readIfThere(path)
	m := map[string]string{}
	if err != nil || len(strings.TrimSpace(string(data))) == 0 {
		return m, err
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fail("Correct or remove it.", "%s is not a JSON object of strings: %v", path, err)
	}
	return m, nil
}

func (d dotFiles) changeMap(path string, change func(map[string]string)) error {
	return d.locked(func() error {
		m, err := readMap(path)
		if err != nil {
			return err
		}
		change(m)
		data, err := json.Marshal(m)
		if err != nil {
			return err
		}
		return writeAtomically(path, append(data, '\n'))
	})
}

func (d dotFiles) write(path string, data []byte) error {
	return d.locked(func() error { return writeAtomically(path, data) })
}

// locked keeps other vmc from writing meanwhile.
func (d dotFiles) locked(change func() error) error {
	if d.home == "" {
		return fail("Set HOME.", "There is no home folder to keep the target and the token in")
	}
	l := flock.New(d.name(".vmc_lock"), flock.SetPermissions(0o600))
	if err := l.Lock(); err != nil {
		return fail("HOME has to be a folder that you may write to.", "The files of vmc cannot be written: %v", err)
	}
	defer l.Unlock()
	return change()
}

func writeAtomically(path string, data []byte) error {
	return renameio.WriteFile(path, data, 0o600, renameio.IgnoreUmask())
}
