// Command admin is the control plane of Token Relay: the server of the customer
// and operator APIs, and the operator's commands.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"

	"tokenrelay/shared/apierr"
	"tokenrelay/shared/config"
)

// The exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // refused or failed; audit: the books are broken
	exitUsage  = 2 // wrong flags or settings; audit: could not check
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], &process{env: os.LookupEnv, stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr})
	stop()
	os.Exit(code)
}

// process is what a command has of the outside.
type process struct {
	env    config.Lookup
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
}

// command is one operator command.
type command struct {
	name    string // words, as typed
	args    string // positional arguments, for the help
	summary string
	detail  string // what else there is to know
	run     func(ctx context.Context, p *process, usage string, args []string) error
}

// exit is an error that carries its exit code. An empty text prints nothing.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exit) Unwrap() error { return e.err }

// usageError is a command line that cannot be meant.
func usageError(format string, args ...any) error {
	return &exit{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// run finds the command and runs it; the result is the exit code.
func run(ctx context.Context, args []string, p *process) int {
	if len(args) == 0 || args[0] == "help" || args[0] == "--help" || args[0] == "-h" {
		if len(args) > 1 && args[0] == "help" {
			if c, _ := find(args[1:]); c != nil {
				return run(ctx, append(args[1:], "--help"), p)
			}
		}
		if len(args) == 0 {
			_, _ = io.WriteString(p.stderr, help())
			return exitUsage
		}
		_, _ = io.WriteString(p.stdout, help())
		return exitOK
	}
	c, rest := find(args)
	if c == nil {
		_, _ = fmt.Fprintf(p.stderr, "admin: unknown command %q; admin help lists them\n", strings.Join(args[:min(2, len(args))], " "))
		return exitUsage
	}
	err := c.run(ctx, p, c.usage(), rest)
	if err == nil {
		return exitOK
	}
	var asked *config.HelpError
	if errors.As(err, &asked) {
		_, _ = io.WriteString(p.stdout, asked.Text)
		return exitOK
	}
	var e *exit
	if errors.As(err, &e) {
		if text := e.Error(); text != "" {
			_, _ = fmt.Fprintf(p.stderr, "admin %s: %s\n", c.name, text)
		}
		return e.code
	}
	_, _ = fmt.Fprintf(p.stderr, "admin %s: %s\n", c.name, message(err))
	return exitFailed
}

// message is an error for an operator's eyes: a refusal without its code.
func message(err error) string {
	var refusal *apierr.Error
	if errors.As(err, &refusal) && refusal.Status < 500 {
		return string(refusal.AppendMessage(nil, nil))
	}
	return err.Error()
}

// find matches the longest command that args begin with.
func find(args []string) (*command, []string) {
	for n := min(2, len(args)); n > 0; n-- {
		name := strings.Join(args[:n], " ")
		for i := range commands {
			if commands[i].name == name {
				return &commands[i], args[n:]
			}
		}
	}
	return nil, nil
}

// usage is the head of a command's help.
func (c *command) usage() string {
	text := "admin " + c.name
	if c.args != "" {
		text += " " + c.args
	}
	text += "\n\n" + c.summary
	if c.detail != "" {
		text += "\n" + c.detail
	}
	return text
}

func help() string {
	var b strings.Builder
	b.WriteString("admin: the control plane of Token Relay.\n\nCommands (admin COMMAND --help tells more):\n")
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for i := range commands {
		_, _ = fmt.Fprintf(t, "  %s\t%s\n", commands[i].name, commands[i].summary)
	}
	_ = t.Flush()
	b.WriteString(`
Every command takes --json: the result on stdout as one JSON document (serve: its log).
Settings are environment variables or flags; where RELAY_DATABASE_URL or
RELAY_SECRET_KEY is absent, RELAY_DATA_DIR/run.env (kept by make run) is read.
Exit codes: 0 done, 1 refused or failed, 2 wrong usage or settings;
audit: 0 the books are right, 1 they are broken, 2 they could not be checked.
`)
	return b.String()
}
