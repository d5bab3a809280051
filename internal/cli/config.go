package cli

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
	"go.yaml.in/yaml/v3"

	"cloudlet/internal/operator"
)

// Config is what `up` is told: by flags, else by the environment, else by config.yml in
// the data folder, else by its defaults.
type Config struct {
	Data         string        `yaml:"-"`
	Listen       string        `yaml:"listen"`
	Domain       string        `yaml:"domain"`
	Admin        string        `yaml:"admin"`
	Registration string        `yaml:"registration"`
	Bus          string        `yaml:"bus"`
	Isolation    string        `yaml:"isolation"`
	StartTimeout time.Duration `yaml:"start-timeout"`
	NoOutbound   bool          `yaml:"no-outbound"`
	AllowUnsafe  bool          `yaml:"allow-unsafe"`
	Verbose      bool          `yaml:"verbose"`
	Demo         bool          `yaml:"-"`
}

func setting(name, usage string) *cli.StringFlag {
	return &cli.StringFlag{Name: name, Usage: usage, EnvVars: []string{envName(name)}}
}

func toggle(name, usage string) *cli.BoolFlag {
	return &cli.BoolFlag{Name: name, Usage: usage, EnvVars: []string{envName(name)}}
}

func envName(name string) string {
	return "CLOUDLET_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

// UpCommand is `up` with its flags; run gets the configuration.
func UpCommand(std Streams, run func(*cli.Context, Config) error) *cli.Command {
	return &cli.Command{
		Name:         "up",
		Usage:        "start the cloud; Ctrl-C stops it, and its applications",
		OnUsageError: onUsageError,
		Flags: []cli.Flag{
			dataFlag,
			setting("listen", "`ADDR` for browsers and clients (default: 127.0.0.1:8080)"),
			setting("domain", "wildcard `NAME`: applications are <app>.NAME (default: localhost)"),
			setting("admin", "`EMAIL` of the administrator (default: admin@<domain>); the first start takes the password from CLOUDLET_ADMIN_PASSWORD, else makes one"),
			setting("registration", "who may make an account: closed, invite or open (default: closed)"),
			setting("bus", "open the message bus to NATS clients on `ADDR`"),
			setting("isolation", "use at most this `LEVEL`: full (root on Linux), rootless (other users there, by user namespaces) or process (default: the highest that works)"),
			&cli.DurationFlag{Name: "start-timeout", Usage: "`TIME` that an application has to start listening (default: 1m)", EnvVars: []string{envName("start-timeout")}},
			toggle("no-outbound", "give applications that start from now on no way out of this machine; staging keeps one, to fetch packages"),
			toggle("allow-unsafe", "let others than the administrator push although this machine isolates nothing"),
			toggle("verbose", "log every step"),
			&cli.BoolFlag{Name: "demo", Usage: "also push a sample application and print its URL"},
		},
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			cfg, err := readConfig(c, std)
			if err != nil {
				return err
			}
			return run(c, cfg)
		},
	}
}

func readConfig(c *cli.Context, std Streams) (Config, error) {
	cfg := Config{Data: c.String("data"), Demo: c.Bool("demo")}
	if cfg.Data == "" {
		cfg.Data = operator.DataDir(std.Env)
	}
	data, err := filepath.Abs(cfg.Data)
	if err != nil {
		return cfg, err
	}
	cfg.Data = data
	if err := readFile(&cfg); err != nil {
		return cfg, err
	}
	for _, s := range []struct {
		name, standard string
		to             *string
	}{
		{"listen", "127.0.0.1:8080", &cfg.Listen},
		{"domain", "localhost", &cfg.Domain},
		{"registration", "closed", &cfg.Registration},
		{"bus", "", &cfg.Bus},
		{"isolation", "", &cfg.Isolation},
		{"admin", "", &cfg.Admin},
	} {
		if c.IsSet(s.name) {
			*s.to = c.String(s.name)
		}
		if *s.to == "" {
			*s.to = s.standard
		}
	}
	if c.IsSet("start-timeout") {
		cfg.StartTimeout = c.Duration("start-timeout")
	}
	if cfg.StartTimeout == 0 {
		cfg.StartTimeout = time.Minute
	}
	cfg.Domain = strings.ToLower(strings.Trim(cfg.Domain, "."))
	if cfg.Admin == "" {
		cfg.Admin = "admin@" + cfg.Domain
	}
	for name, to := range map[string]*bool{"no-outbound": &cfg.NoOutbound, "allow-unsafe": &cfg.AllowUnsafe, "verbose": &cfg.Verbose} {
		if c.IsSet(name) {
			*to = c.Bool(name)
		}
	}
	return cfg, cfg.validate()
}

// readFile reads config.yml, if there is one. A key that it does not know is an error:
// a misspelt one would be a setting that silently does not hold.
func readFile(cfg *Config) error {
	path := filepath.Join(cfg.Data, "config.yml")
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil // whether the folder can be made is another question
	}
	if err != nil {
		return hinted(err, "the settings of this cloud are in that file")
	}
	defer f.Close()
	d := yaml.NewDecoder(f)
	d.KnownFields(true)
	if err := d.Decode(cfg); err != nil {
		return hinted(fmt.Errorf("%s: %w", path, err), "its keys are listen, domain, admin, registration, bus, isolation, start-timeout, no-outbound, allow-unsafe and verbose")
	}
	return nil
}

var domainName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$`)

// validate reports all that is wrong at once.
func (c Config) validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	_, _, err := net.SplitHostPort(c.Listen)
	check(err == nil, "listen: %q is no HOST:PORT", c.Listen)
	if c.Bus != "" {
		_, _, err = net.SplitHostPort(c.Bus)
		check(err == nil, "bus: %q is no HOST:PORT", c.Bus)
	}
	check(len(c.Domain) < 200 && domainName.MatchString(c.Domain), "domain: %q is no host name", c.Domain)
	check(slices.Contains([]string{"closed", "invite", "open"}, c.Registration), "registration: %q is neither closed, invite nor open", c.Registration)
	check(slices.Contains([]string{"", "full", "rootless", "process"}, c.Isolation), "isolation: %q is neither full, rootless nor process", c.Isolation)
	check(c.StartTimeout >= time.Second && c.StartTimeout <= time.Hour, "start-timeout: %s is not between 1s and 1h", c.StartTimeout)
	check(strings.Contains(c.Admin, "@"), "admin: %q is no e-mail address", c.Admin)
	if err := errors.Join(errs...); err != nil {
		return Usage{err}
	}
	return nil
}

// URL is an address of the cloud as clients see it. listen is where the router listens.
func (c Config) URL(name, listen string) string {
	_, port, err := net.SplitHostPort(listen)
	if err != nil || port == "80" {
		return "http://" + name + "." + c.Domain
	}
	return "http://" + name + "." + c.Domain + ":" + port
}
