package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"tokenrelay/admin/manage"
	"tokenrelay/shared/catalogfile"
)

// maxCatalogue is the largest catalogue file that is read, in bytes.
const maxCatalogue = 16 << 20

type applyResult struct {
	Changes  []string `json:"changes"`
	Skipped  []string `json:"skipped_keys"` // provider keys whose variable is not set
	Revision int64    `json:"revision"`
	DryRun   bool     `json:"dry_run"`
}

func apply(ctx context.Context, p *process, usage string, args []string) error {
	s := newSettings(usage).withSecretKey()
	var dryRun bool
	s.set.Bool(&dryRun, "dry-run", "off", "only say what would change")
	rest, err := s.parse(p, args, "FILE")
	if err != nil {
		return err
	}
	data, err := readFile(p, rest[0])
	if err != nil {
		return err
	}
	file, err := catalogfile.Parse(data)
	if err != nil {
		return fmt.Errorf("%s: %w", rest[0], err)
	}
	for _, note := range file.Notes {
		_, _ = fmt.Fprintf(p.stderr, "admin apply: note: %s\n", note)
	}
	missing, err := file.ResolveSecrets(p.env)
	if err != nil {
		return err
	}
	for _, line := range missing {
		_, _ = fmt.Fprintf(p.stderr, "admin apply: warning: provider key left out: %s\n", line)
	}
	box, err := s.box()
	if err != nil {
		return err
	}
	db, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	done, err := manage.New(db, box, "", now).Apply(ctx, cli, file, dryRun)
	if err != nil {
		return err
	}
	result := applyResult{Changes: notNil(done.Changes), Skipped: notNil(missing), Revision: done.Revision, DryRun: done.DryRun}
	return s.print(p, result, func(w io.Writer) {
		for _, line := range done.Changes {
			_, _ = fmt.Fprintln(w, line)
		}
		switch {
		case len(done.Changes) == 0:
			_, _ = fmt.Fprintln(w, "Nothing to change.")
		case dryRun:
			_, _ = fmt.Fprintf(w, "%d changes would be made; this was a dry run.\n", len(done.Changes))
		default:
			_, _ = fmt.Fprintf(w, "%d changes made, revision %d.\n", len(done.Changes), done.Revision)
		}
	})
}

// readFile reads a file, or stdin for "-".
func readFile(p *process, name string) ([]byte, error) {
	in := p.stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("cannot read the catalogue: %w", err)
		}
		defer func() { _ = f.Close() }() // was only read
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, maxCatalogue+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the catalogue: %w", err)
	}
	if len(data) > maxCatalogue {
		return nil, errors.New("cannot read the catalogue: it is larger than 16 MiB")
	}
	return data, nil
}

func exportCatalog(ctx context.Context, p *process, usage string, args []string) error {
	s := newSettings(usage)
	if _, err := s.parse(p, args); err != nil {
		return err
	}
	db, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	file, err := db.ExportCatalog(ctx)
	if err != nil {
		return err
	}
	return s.print(p, file, func(w io.Writer) { _, _ = w.Write(catalogfile.Marshal(file)) })
}

func notNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
