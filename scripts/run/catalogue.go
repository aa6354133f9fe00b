package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"tokenrelay/shared/catalogfile"
	"tokenrelay/shared/config"
)

// providerOf is the provider that each key variable belongs to (interface 1), as the
// shipped catalogue says.
var providerOf = func() map[string]string {
	m := map[string]string{}
	f := catalogfile.Default()
	for i := range f.Providers {
		for _, k := range f.Providers[i].Keys {
			if name, ok := strings.CutPrefix(k.Secret, "env:"); ok {
				m[name] = f.Providers[i].Name
			}
		}
	}
	return m
}()

// realProviders are the providers whose key is in the environment.
func (l *launcher) realProviders() map[string]bool {
	m := map[string]bool{}
	for name, provider := range providerOf {
		if l.env[name] != "" {
			m[provider] = true
		}
	}
	return m
}

// mockAddress is where mockllm listens, unless it is taken.
const mockAddress = "127.0.0.1:8004"

// startMock starts the demo provider if no provider key is set and returns its
// address, else "".
func (l *launcher) startMock(ctx context.Context) (string, error) {
	if len(l.realProviders()) > 0 {
		return "", nil
	}
	addr := mockAddress
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		if ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return "", fmt.Errorf("cannot find a port for mockllm: %w", err)
		}
		addr = ln.Addr().String()
	}
	_ = ln.Close() // only tried
	c, err := l.start("mockllm", "--listen", addr)
	if err != nil {
		return "", err
	}
	return addr, l.waitReady(ctx, c, "http://"+addr+"/healthz")
}

// catalogue brings the database to the shipped catalogue, without ever undoing what
// an operator did. It is called only for a database that was empty or that make run
// filled. Two rules:
//
// Providers follow the environment: whenever their addresses or keys differ from what
// was applied last, they are applied.
//
// Models, prices and groups are applied to an empty database. Later, when the shipped
// file has changed, they are applied only if the catalogue still stands as the last
// such step left it; otherwise a line says so and how to apply it by hand.
func (l *launcher) catalogue(ctx context.Context, standing *catalogfile.File, mock string) error {
	f := l.wanted(mock)
	providers := &catalogfile.File{Providers: f.Providers}
	models := &catalogfile.File{Models: f.Models, Groups: f.Groups}
	providersNow, modelsNow := l.fingerprint(providers), l.fingerprint(models)

	fresh := len(standing.Models) == 0
	changed := l.kept[config.RunShipped] != modelsNow
	untouched := l.kept[config.RunExported] == l.fingerprint(standing)
	switch {
	case fresh, changed && untouched:
		if err := l.apply(ctx, f); err != nil {
			return err
		}
		left, err := l.exported(ctx)
		if err != nil {
			return err
		}
		l.kept[config.RunExported] = l.fingerprint(left)
	case l.kept[config.RunProviders] != providersNow:
		if err := l.apply(ctx, providers); err != nil {
			return err
		}
	}
	if changed && !fresh && !untouched {
		say("the shipped catalogue has changed, but yours was edited and is kept; to take the shipped models: bin/admin apply " + filepath.Join(l.data, shippedFile))
		if err := l.write(shippedFile, f); err != nil {
			return err
		}
	}
	l.kept[config.RunDatabase] = l.databaseID()
	l.kept[config.RunProviders], l.kept[config.RunShipped] = providersNow, modelsNow
	return l.keep()
}

const (
	appliedFile = "catalog.applied.yaml" // what was applied last
	shippedFile = "catalog.shipped.yaml" // what could be applied, see catalogue
)

// wanted is the shipped catalogue with the providers that this run has.
func (l *launcher) wanted(mock string) *catalogfile.File {
	f := catalogfile.Default()
	real := l.realProviders()
	for i := range f.Providers {
		p := &f.Providers[i]
		switch {
		case mock != "":
			// The first segment tells mockllm whose answers to imitate.
			p.BaseURL = "http://" + mock + "/" + p.Name + "/v1"
			p.Keys = []catalogfile.ProviderKey{{Name: p.Keys[0].Name, Secret: "mock"}}
		case !real[p.Name]:
			p.Keys = nil // it answers no_provider_keys
		}
	}
	return f
}

// databaseID identifies the database across runs.
func (l *launcher) databaseID() string {
	if l.private {
		return "private"
	}
	sum := sha256.Sum256([]byte(l.env["RELAY_DATABASE_URL"] + "\n" + l.env["RELAY_DATABASE_URL_FILE"]))
	return hex.EncodeToString(sum[:16])
}

// exported is the models and groups as they stand in the database.
func (l *launcher) exported(ctx context.Context) (*catalogfile.File, error) {
	out, err := l.command(ctx, "", "export")
	if err != nil {
		return nil, err
	}
	f, err := catalogfile.Parse(out)
	if err != nil {
		return nil, fmt.Errorf("cannot read what admin export wrote: %w", err)
	}
	return &catalogfile.File{Models: f.Models, Groups: f.Groups}, nil
}

func (l *launcher) apply(ctx context.Context, f *catalogfile.File) error {
	if err := l.write(appliedFile, f); err != nil {
		return err
	}
	_, err := l.command(ctx, "", "apply", filepath.Join(l.data, appliedFile))
	return err
}

func (l *launcher) write(name string, f *catalogfile.File) error {
	if err := os.WriteFile(filepath.Join(l.data, name), catalogfile.Marshal(f), 0o600); err != nil {
		return fmt.Errorf("cannot write the catalogue: %w", err)
	}
	return nil
}

// fingerprint identifies a catalogue with the values of its secrets. It is keyed, so
// that run.env gives nothing to guess them from.
func (l *launcher) fingerprint(f *catalogfile.File) string {
	mac := hmac.New(sha256.New, []byte(l.env["RELAY_SECRET_KEY"]+l.env["RELAY_SECRET_KEY_FILE"]))
	_, _ = mac.Write(catalogfile.Marshal(f)) // a hash takes everything
	for i := range f.Providers {
		for _, k := range f.Providers[i].Keys {
			if name, ok := strings.CutPrefix(k.Secret, "env:"); ok {
				_, _ = mac.Write([]byte(name + "=" + l.env[name] + "\n"))
			}
		}
	}
	return hex.EncodeToString(mac.Sum(nil)[:16])
}
