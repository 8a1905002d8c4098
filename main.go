// Command tuco is Tuco on your own machine: one binary, one data directory, no other service.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	"github.com/alecthomas/kong"
	_ "time/tzdata" // a small image may have no zone files
)

// version is set by the release build; a build from a checkout says so.
var version = "dev"

// cli is the command line. Every command has a Run method.
type cli struct {
	Config kong.ConfigFlag `help:"JSON file with values for flags, by their names." placeholder:"FILE"`
	JSON   bool            `name:"json" help:"Print JSON, for programs."`

	Dev       devCommand       `cmd:"" help:"Run a server to try: a demo workspace, sandbox lines and keys."`
	Serve     serveCommand     `cmd:"" help:"Run the server."`
	Workspace workspaceCommand `cmd:"" help:"Make, show and change workspaces."`
	Plan      planCommand      `cmd:"" help:"Make, show and change plans."`
	Key       keyCommand       `cmd:"" help:"Make, show and revoke API keys."`
	Line      lineCommand      `cmd:"" help:"Make, show and change lines."`
	Usage     usageCommand     `cmd:"" help:"Show every limit of a workspace and what is used of it."`
	Message   messageCommand   `cmd:"" help:"Show and settle messages whose outcome is not known."`
	Clock     clockCommand     `cmd:"" help:"Accept the clock after it jumped ahead."`
	Check     checkCommand     `cmd:"" help:"Read everything and report what is wrong. Also works on a stopped data directory."`
	ShowConf  configCommand    `cmd:"" name:"config" help:"Print the effective configuration and where each value came from."`
	Version   versionCommand   `cmd:"" help:"Print the version."`
}

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the whole program; it returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	var c cli
	exited := -1
	settings := new(settings)
	parser, err := kong.New(&c,
		kong.Name("tuco"), kong.Description("Tuco on your own machine."),
		kong.Writers(stdout, stderr), kong.Exit(func(code int) { exited = code }),
		kong.DefaultEnvars("TUCO"), kong.Configuration(settings.load), kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.Resolvers(settings),
	)
	if err != nil {
		fmt.Fprintln(stderr, "tuco:", err)
		return exitFailed
	}
	ctx, err := parser.Parse(args)
	if exited >= 0 { // --help
		return exited
	}
	if err != nil {
		fmt.Fprintln(stderr, "tuco:", err)
		return exitUsage
	}
	out := &output{json: c.JSON, to: stdout, log: stderr}
	if err := ctx.Run(out, settings); err != nil {
		fmt.Fprintln(stderr, "tuco:", err)
		var usage *usageError
		if errors.As(err, &usage) {
			return exitUsage
		}
		return exitFailed
	}
	return 0
}

// usageError is a fault of the command line that only shows when the command runs.
type usageError struct{ msg string }

func (e *usageError) Error() string { return e.msg }

type versionCommand struct{}

type versionOutput struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
}

func (versionCommand) Run(out *output) error {
	v := versionOutput{Version: version}
	if info, ok := debug.ReadBuildInfo(); ok {
		v.Go = info.GoVersion
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Commit = s.Value
			}
		}
	}
	return out.show(v)
}
