// Command mockllm runs the mock provider by itself: the demo's provider, and the
// upstream of load tests.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"tokenrelay/shared/apptest/mockllm"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			slog.Error("mockllm stopped", "error", err)
		}
		os.Exit(1)
	}
}

func run(args []string) error {
	flags := flag.NewFlagSet("mockllm", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:9100", "address to listen on; port 0 for any free one")
	recordings := flags.String("recordings", "", "folder of recorded cases to replay")
	cases := flags.String("fixtures", "", "folder of cases besides the built-in ones")
	script := flags.String("default", "", "script that every request starts from, e.g. delay=300ms;gap=20ms")
	records := flags.Int("records", 0, "requests that the meter lists, the newest; 0 for 200000")
	quiet := flags.Bool("quiet", false, "log errors only")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unknown argument %q", flags.Arg(0))
	}
	level := slog.LevelInfo
	if *quiet {
		level = slog.LevelError
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})))

	s, err := mockllm.New(mockllm.Options{Recordings: *recordings, Fixtures: *cases, Default: *script, Records: *records})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	addr, err := s.Start(*listen)
	if err != nil {
		return err
	}
	slog.Info("mock provider is listening", "url", "http://"+addr.String(), "cases", s.Cases())
	<-ctx.Done()
	sum := s.Meter().Summary()
	slog.Info("mock provider stops", "requests", sum.Total.Requests, "finished", sum.Total.Finished)
	return s.Close()
}
