// Command tuco is Tuco on your own machine: one binary, one data directory, no other service.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"github.com/alecthomas/kong"
)

// version is set by the release build; a build from a checkout says so.
var version = "dev"

// cli is the command line. Every command has a Run method.
type cli struct {
	Config kong.ConfigFlag `help:"JSON file with values for flags, by their names." placeholder:"FILE"`
	JSON   bool            `name:"json" help:"Print JSON, for programs."`

	Dev       devCommand        `cmd:"" help:"Run a server to try: a demo workspace, sandbox lines and keys."`
	Serve     serveCommand      `cmd:"" help:"Run the server."`
	Workspace workspaceCommand  `cmd:"" help:"Make, show and change workspaces."`
	Plan      planCommand       `cmd:"" help:"Make, show and change plans."`
	Key       keyCommand        `cmd:"" help:"Make, show and revoke API keys."`
	Line      lineCommand       `cmd:"" help:"Make, show and change lines."`
	Staff     staffCommand      `cmd:"" help:"Add, show and disable staff accounts."`
	Auditor   auditorCommand    `cmd:"" help:"Add, show and disable auditors' accounts."`
	Access    accessCommand     `cmd:"" help:"Show and decide requests of staff for access to workspaces."`
	Agreement agreementCommand  `cmd:"" help:"Add, show and remove agreements about staff access."`
	Usage     usageCommand      `cmd:"" help:"Show every limit of a workspace and what is used of it."`
	Message   messageCommand    `cmd:"" help:"Show and settle messages whose outcome is not known."`
	Audit     auditCommand      `cmd:"" help:"Show the log of who looked at what, and check what was exported of it."`
	Clock     clockCommand      `cmd:"" help:"Accept the clock after it jumped ahead."`
	Backup    backupCommand     `cmd:"" help:"Make, list, verify and restore backups."`
	Keys      keysCommand       `cmd:"" help:"Export the key files, without which a restore loses all API keys."`
	Check     checkCommand      `cmd:"" help:"Read everything and report what is wrong. Also works on a stopped data directory."`
	Compact   compactCommand    `cmd:"" help:"Give what is free inside the database file back to the disk. Also works on a stopped data directory."`
	Doctor    doctorCommand     `cmd:"" help:"Look at the machine, the data directory and the server, and say what to do."`
	Support   supportCommand    `cmd:"" help:"Write what support needs to help, without customers' data, into one file."`
	LogLevel  logLevelCommand   `cmd:"" help:"Show or change the level and the format of a running server's log."`
	Bench     benchCommand      `cmd:"" help:"Measure what this machine can do, with a server and data of its own."`
	ShowConf  configCommand     `cmd:"" name:"config" help:"Print the effective configuration and where each value came from."`
	Complete  completionCommand `cmd:"" name:"completion" help:"Print a script that completes tuco's commands in a shell."`
	Version   versionCommand    `cmd:"" help:"Print the version."`
	Ceiling   benchCeiling      `cmd:"" name:"bench-ceiling" hidden:"" help:"The server without storage that bench compares with."`
	Health    healthCommand     `cmd:"" name:"healthcheck" hidden:"" help:"Ask a server whether it lives; for a container's health check."`
}

// Exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the whole program; it returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	dropEmptyVariables()
	var c cli
	exited := -1
	settings := new(settings)
	parser, err := kong.New(&c,
		kong.Name("tuco"), kong.Description("Tuco on your own machine."),
		kong.Writers(stdout, stderr), kong.Exit(func(code int) { exited = code }),
		kong.DefaultEnvars("TUCO"), kong.Configuration(settings.load),
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
		fmt.Fprintf(stderr, "tuco: %v; see '%s --help'\n", err, commandOf(err))
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

// dropEmptyVariables lets an empty variable be none, as it is meant where variables can't be left out.
func dropEmptyVariables() {
	for _, v := range os.Environ() {
		if name, value, _ := strings.Cut(v, "="); strings.HasPrefix(name, "TUCO_") && value == "" {
			os.Unsetenv(name)
		}
	}
}

// commandOf is as much of the command as was understood.
func commandOf(err error) string {
	var parse *kong.ParseError
	if errors.As(err, &parse) && parse.Context != nil && parse.Context.Selected() != nil {
		return parse.Context.Selected().FullPath()
	}
	return "tuco"
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

func (versionCommand) Run(out *output) error { return out.show(versionNow()) }

func versionNow() versionOutput {
	v := versionOutput{Version: version}
	if info, ok := debug.ReadBuildInfo(); ok {
		v.Go = info.GoVersion
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Commit = s.Value
			}
		}
	}
	return v
}
