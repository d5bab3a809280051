package appdir

import (
	"archive/zip"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// Kind is what an app was found to be.
type Kind struct {
	Framework string // v1's name
	Name      string // as shown: "Node.js Application"
	Runtime   string // empty: the framework's default
	Command   string // start command of a standalone app, if known
	Memory    int    // MB, if the user says nothing
	Web       bool   // gets a URL by default
	Sure      bool   // false: nothing was recognized and standalone is a guess
	Archive   string // the file in the folder that is the app, where it is not the folder
}

// kinds are the frameworks that vmc knows.
var kinds = map[string]Kind{
	"rails3":     {Name: "Rails Application", Memory: 256, Web: true},
	"rack":       {Name: "Rack Application", Memory: 128, Web: true},
	"grails":     {Name: "Java SpringSource Grails Application", Memory: 512, Web: true},
	"lift":       {Name: "Scala Lift Application", Memory: 512, Web: true},
	"spring":     {Name: "Java SpringSource Spring Application", Memory: 512, Web: true},
	"java_web":   {Name: "Java Web Application", Memory: 512, Web: true},
	"sinatra":    {Name: "Sinatra Application", Memory: 128, Web: true},
	"php":        {Name: "PHP Application", Memory: 128, Web: true},
	"otp_rebar":  {Name: "Erlang/OTP Rebar Application", Memory: 64, Web: true},
	"django":     {Name: "Python Django Application", Memory: 128, Web: true},
	"wsgi":       {Name: "Python WSGI Application", Memory: 64, Web: true},
	"dotNet":     {Name: ".Net Web Application", Memory: 128, Web: true},
	"node":       {Name: "Node.js Application", Memory: 128, Web: true}, // v1's 64 was for node 0.4
	"play":       {Name: "Play Framework Application", Memory: 256, Web: true},
	"standalone": {Name: "Standalone Application", Memory: 64},
}

// unknownMemory is for frameworks that vmc has never heard of.
const unknownMemory = 256

// StaticRuntime serves files; an app with it is a web site.
const StaticRuntime = "static"

// KindOf is what is known about a framework by its name alone.
func KindOf(framework string) Kind {
	k, ok := kinds[framework]
	if !ok {
		k = Kind{Name: framework, Memory: unknownMemory, Web: true}
	}
	k.Framework, k.Sure = framework, true
	return k
}

// Static is a web site of files.
func Static() Kind {
	return Kind{Framework: "standalone", Runtime: StaticRuntime, Name: "Static Website", Memory: 64, Web: true, Sure: true}
}

// StandaloneMemory is what a standalone app on that runtime gets by default.
func StandaloneMemory(runtime string) int {
	switch {
	case strings.HasPrefix(runtime, "ruby"), runtime == "php":
		return 128
	case strings.HasPrefix(runtime, "java"):
		return 512
	default:
		return 64
	}
}

// Offers tells what the target has: a framework, or a runtime of it.
type Offers func(framework, runtime string) bool

// Detect finds the first kind that the files are and the target takes. Its last resort
// is a standalone app that is not Sure; a zero Kind means that not even that is offered.
func (d *Dir) Detect(offers Offers) Kind {
	framework, archive := d.framework(offers)
	if framework != "" && framework != "standalone" && offers(framework, "") {
		k := KindOf(framework)
		k.Archive = archive
		return k
	}
	if !offers("standalone", "") {
		return Kind{}
	}
	k := KindOf("standalone")
	if command := d.ProcfileWeb(); command != "" {
		k.Command, k.Web = command, true
		return k
	}
	if has(d.Root, "index.html") && framework == "" && offers("standalone", StaticRuntime) {
		return Static()
	}
	k.Sure, k.Archive = false, d.onlyZip()
	return k
}

var requiresSinatra = regexp.MustCompile(`(?m)^\s*require\s*\(?\s*['"]sinatra(/base)?['"]`)

// framework is v1's own detection, in its order. An archive is named when the app is
// inside it.
func (d *Dir) framework(offers Offers) (name, archive string) {
	root := d.Root
	if has(root, "config/environment.rb") {
		return "rails3", ""
	}
	if has(root, "config.ru") && offers("rack", "") {
		return "rack", ""
	}
	if wars := glob(root, "*.war"); len(wars) > 0 {
		return javaFramework(zipNames(filepath.Join(root, wars[0]))), wars[0]
	}
	if has(root, "WEB-INF/web.xml") {
		return javaFramework(folderNames(root, "WEB-INF")), ""
	}
	if rb := glob(root, "*.rb"); len(rb) > 0 {
		return rubyFramework(root, rb), ""
	}
	switch {
	case len(glob(root, "*.php")) > 0:
		return "php", ""
	case len(glob(root, "releases/*/*.rel")) > 0 && len(glob(root, "releases/*/*.boot")) > 0:
		return "otp_rebar", ""
	case has(root, "manage.py") && has(root, "settings.py"):
		return "django", ""
	case has(root, "wsgi.py"):
		return "wsgi", ""
	case has(root, "web.config", "Web.config"):
		return "dotNet", ""
	case has(root, "server.js", "app.js", "index.js", "main.js"):
		return "node", ""
	}
	for _, z := range glob(root, "*.zip") {
		if matches(zipNames(filepath.Join(root, z)), "*/lib/play.*.jar", "lib/play.*.jar") && offers("play", "") {
			return "play", z
		}
	}
	return "", ""
}

// rubyFramework tells Sinatra from other Ruby programs.
func rubyFramework(root string, files []string) string {
	for _, f := range files {
		if requiresSinatra.Match(head(filepath.Join(root, f))) {
			return "sinatra"
		}
	}
	return "standalone"
}

// head is the beginning of a file; requires stand there.
func head(name string) []byte {
	f, err := os.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return nil
	}
	return data
}

// javaFramework tells the kinds of web archives apart by the names in them.
func javaFramework(names []string) string {
	switch {
	case matches(names, "WEB-INF/lib/grails-web*.jar"):
		return "grails"
	case matches(names, "WEB-INF/lib/lift-webkit*.jar"):
		return "lift"
	case matches(names, "WEB-INF/lib/spring-core*.jar", "WEB-INF/lib/org.springframework.core*.jar"),
		hasPrefix(names, "WEB-INF/classes/org/springframework"):
		return "spring"
	default:
		return "java_web"
	}
}

func matches(names []string, patterns ...string) bool {
	for _, n := range names {
		for _, p := range patterns {
			if ok, _ := path.Match(p, n); ok { // the patterns are our own and well-formed
				return true
			}
		}
	}
	return false
}

func hasPrefix(names []string, prefix string) bool {
	for _, n := range names {
		if strings.HasPrefix(n, prefix) {
			return true
		}
	}
	return false
}

// zipNames lists an archive; what is no archive has no names.
func zipNames(name string) []string {
	r, err := zip.OpenReader(name)
	if err != nil {
		return nil
	}
	defer r.Close()
	names := make([]string, len(r.File))
	for i, f := range r.File {
		names[i] = f.Name
	}
	return names
}

// folderNames lists what lies in lib and classes of a web app, as deep as detection looks.
func folderNames(root, folder string) []string {
	names := glob(root, folder+"/lib/*")
	return append(names, glob(root, folder+"/classes/org/springframework*")...)
}

// onlyZip is the archive of a folder that holds nothing else.
func (d *Dir) onlyZip() string {
	files, err := d.Files()
	if err == nil && len(files) == 1 && strings.EqualFold(path.Ext(files[0].Path), ".zip") {
		return files[0].Path
	}
	return ""
}

// ProcfileWeb is the command of the Procfile's web line, or "".
func (d *Dir) ProcfileWeb() string {
	return ParseProcfile(string(head(filepath.Join(d.Root, "Procfile"))))["web"]
}

var procfileLine = regexp.MustCompile(`^([A-Za-z0-9_-]+):\s*(\S.*)$`)

// ParseProcfile maps process types to commands. Lines that are none are passed over,
// and of two lines of one type the first counts.
func ParseProcfile(text string) map[string]string {
	processes := map[string]string{}
	for line := range strings.Lines(text) {
		m := procfileLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		if _, ok := processes[m[1]]; !ok {
			processes[m[1]] = m[2]
		}
	}
	return processes
}
