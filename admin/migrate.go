package main

import (
	"context"
	"fmt"
	"io"

	"tokenrelay/shared/store"
)

func migrate(ctx context.Context, p *process, usage string, args []string) error {
	s := newSettings(usage)
	if _, err := s.parse(p, args); err != nil {
		return err
	}
	if err := store.Migrate(ctx, s.databaseURL); err != nil {
		return err
	}
	return s.print(p, map[string]string{"schema": "ready"}, func(w io.Writer) { _, _ = fmt.Fprintln(w, "The schema is up to date.") })
}
