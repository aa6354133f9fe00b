package manage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"tokenrelay/shared/apierr"
	"tokenrelay/shared/catalogfile"
	"tokenrelay/shared/store"
)

// edit changes the catalogue by one thing, held to the same rules as a file of `admin
// apply`: the whole is checked, what it then says of the thing is written. change works on
// the catalogue as it stands.
func (s *Service) edit(ctx context.Context, actor store.Actor, action, object, id string, change func(*catalogfile.File) error) (store.Applied, error) {
	done, err := s.db.EditCatalog(ctx, actor, s.box, store.Edit{Action: action, Object: object, ID: id, Change: func(f *catalogfile.File) (*catalogfile.File, error) {
		if err := change(f); err != nil {
			return nil, err
		}
		if err := catalogfile.Check(f); err != nil {
			return nil, apierr.Invalid(faultyField(err), faults(f, err))
		}
		return part(f, object, id), nil
	}})
	if done.Changes == nil {
		done.Changes = []string{}
	}
	return done, refused(err, object, id)
}

// part is the one thing of a catalogue that an edit is about.
func part(f *catalogfile.File, object, id string) *catalogfile.File {
	one := new(catalogfile.File)
	switch object {
	case "provider":
		one.Providers = ofName(f.Providers, id, func(p *catalogfile.Provider) string { return p.Name })
	case "model":
		one.Models = ofName(f.Models, id, func(m *catalogfile.Model) string { return m.ID })
	case "group":
		one.Groups = ofName(f.Groups, id, func(g *catalogfile.Group) string { return g.Name })
	}
	return one
}

func ofName[T any](list []T, name string, of func(*T) string) []T {
	for i := range list {
		if of(&list[i]) == name {
			return list[i : i+1]
		}
	}
	return nil
}

// faults is what is wrong with a catalogue without the lines of the file that nobody
// sees, and with the names of things instead of their places in it.
func faults(f *catalogfile.File, err error) string {
	list := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		list = joined.Unwrap()
	}
	var texts []string
	for _, err := range list {
		var fault *catalogfile.Error
		if !errors.As(err, &fault) {
			texts = append(texts, err.Error())
			continue
		}
		texts = append(texts, strings.TrimPrefix(placeName(f, fault.Path)+": "+fault.Err.Error(), ": "))
		if len(texts) == 5 {
			break
		}
	}
	return strings.Join(texts, "; ")
}

// faultyField is the member of a thing that the first fault is about, "" where it is
// about no member: the last name of models[3].routes[1].weight.
func faultyField(err error) string {
	var fault *catalogfile.Error
	if !errors.As(err, &fault) {
		return ""
	}
	_, member, _ := strings.Cut(fault.Path, "].")
	member = member[strings.LastIndexByte(member, '.')+1:]
	name, _, _ := strings.Cut(member, "[")
	return name
}

func placeName(f *catalogfile.File, path string) string {
	var i int
	list, rest, _ := strings.Cut(path, "[")
	if n, err := fmt.Sscanf(rest, "%d", &i); n != 1 || err != nil {
		return path
	}
	_, member, _ := strings.Cut(rest, "].")
	switch {
	case list == "models" && i < len(f.Models):
		return strings.TrimSuffix("model "+f.Models[i].ID+", "+member, ", ")
	case list == "providers" && i < len(f.Providers):
		return strings.TrimSuffix("provider "+f.Providers[i].Name+", "+member, ", ")
	case list == "groups" && i < len(f.Groups):
		return strings.TrimSuffix("group "+f.Groups[i].Name+", "+member, ", ")
	}
	return path
}

func exists(what, name string) error {
	return apierr.Invalid("name", fmt.Sprintf("%s %q exists already", what, clip(name)))
}

// CreateGroup adds a tier of customers.
func (s *Service) CreateGroup(ctx context.Context, actor store.Actor, g catalogfile.Group) (store.Applied, error) {
	return s.edit(ctx, actor, "create", "group", g.Name, func(f *catalogfile.File) error {
		if slices.ContainsFunc(f.Groups, func(o catalogfile.Group) bool { return o.Name == g.Name }) {
			return exists("group", g.Name)
		}
		f.Groups = append(f.Groups, g)
		return nil
	})
}

// PatchGroup changes a group.
func (s *Service) PatchGroup(ctx context.Context, actor store.Actor, name string, change func(*catalogfile.Group)) (store.Applied, error) {
	return s.edit(ctx, actor, "update", "group", name, func(f *catalogfile.File) error {
		for i := range f.Groups {
			if f.Groups[i].Name == name {
				change(&f.Groups[i])
				return nil
			}
		}
		return store.ErrNotFound
	})
}

// DeleteGroup removes a group that no customer is in.
func (s *Service) DeleteGroup(ctx context.Context, actor store.Actor, name string) error {
	err := s.db.DeleteGroup(ctx, actor, name)
	if errors.Is(err, store.ErrConflict) {
		return apierr.Invalid("group", "the group is the default one or has customers: move them first").WithCause(err)
	}
	return refused(err, "group", name)
}

// CreateProvider adds an upstream account, without keys.
func (s *Service) CreateProvider(ctx context.Context, actor store.Actor, p catalogfile.Provider) (store.Applied, error) {
	return s.edit(ctx, actor, "create", "provider", p.Name, func(f *catalogfile.File) error {
		if slices.ContainsFunc(f.Providers, func(o catalogfile.Provider) bool { return o.Name == p.Name }) {
			return exists("provider", p.Name)
		}
		f.Providers = append(f.Providers, p)
		return nil
	})
}

// PatchProvider changes an upstream account.
func (s *Service) PatchProvider(ctx context.Context, actor store.Actor, name string, change func(*catalogfile.Provider)) (store.Applied, error) {
	return s.provider(ctx, actor, "update", name, func(p *catalogfile.Provider) error { change(p); return nil })
}

func (s *Service) provider(ctx context.Context, actor store.Actor, action, name string, change func(*catalogfile.Provider) error) (store.Applied, error) {
	return s.edit(ctx, actor, action, "provider", name, func(f *catalogfile.File) error {
		for i := range f.Providers {
			if f.Providers[i].Name == name {
				return change(&f.Providers[i])
			}
		}
		return store.ErrNotFound
	})
}

// maxSecret is the longest provider secret: service accounts are files of some KiB.
const maxSecret = 16 << 10

func checkSecret(secret string) error {
	switch {
	case strings.TrimSpace(secret) == "":
		return apierr.Invalid("secret", "secret must not be empty")
	case len(secret) > maxSecret:
		return apierr.Invalid("secret", fmt.Sprintf("secret has more than %d bytes", maxSecret))
	case strings.HasPrefix(secret, "env:"), strings.HasPrefix(secret, "file:"):
		return apierr.Invalid("secret", "secret must be the secret itself: env: and file: are for admin apply")
	}
	return nil
}

// AddProviderKey gives a provider another credential.
func (s *Service) AddProviderKey(ctx context.Context, actor store.Actor, provider, name, secret string) (store.Applied, error) {
	if err := checkSecret(secret); err != nil {
		return store.Applied{}, err
	}
	known, err := s.providerKey(ctx, provider, name)
	switch {
	case err == nil && known.Enabled:
		return store.Applied{}, exists("key", name)
	case err == nil:
		return store.Applied{}, apierr.Invalid("name", "a key of that name is switched off: rotate and enable it, or take another name")
	case !errors.Is(err, store.ErrNotFound):
		return store.Applied{}, err
	}
	return s.provider(ctx, actor, "add key", provider, func(p *catalogfile.Provider) error {
		p.Keys = append(p.Keys, catalogfile.ProviderKey{Name: name, Secret: secret})
		return nil
	})
}

// RotateProviderKey replaces a credential's secret. Calls that run go on with the old one.
func (s *Service) RotateProviderKey(ctx context.Context, actor store.Actor, provider, name, secret string) (store.Applied, error) {
	if err := checkSecret(secret); err != nil {
		return store.Applied{}, err
	}
	return s.changeKey(ctx, actor, "rotate key", provider, name, func(p *catalogfile.Provider) {
		for i := range p.Keys {
			if p.Keys[i].Name == name {
				p.Keys[i].Secret = secret
				return
			}
		}
		// Switched off: another secret is put to use at once.
		p.Keys = append(p.Keys, catalogfile.ProviderKey{Name: name, Secret: secret})
	})
}

// SetProviderKey switches a credential on or off.
func (s *Service) SetProviderKey(ctx context.Context, actor store.Actor, provider, name string, on bool) (store.Applied, error) {
	action := map[bool]string{true: "enable key", false: "disable key"}[on]
	return s.changeKey(ctx, actor, action, provider, name, func(p *catalogfile.Provider) {
		p.Keys = slices.DeleteFunc(p.Keys, func(k catalogfile.ProviderKey) bool { return k.Name == name })
		if on {
			p.Keys = append(p.Keys, catalogfile.ProviderKey{Name: name})
		}
	})
}

func (s *Service) changeKey(ctx context.Context, actor store.Actor, action, provider, name string, change func(*catalogfile.Provider)) (store.Applied, error) {
	if _, err := s.providerKey(ctx, provider, name); err != nil {
		return store.Applied{}, refused(err, "key of provider "+clip(provider)+":", name)
	}
	return s.provider(ctx, actor, action, provider, func(p *catalogfile.Provider) error { change(p); return nil })
}

func (s *Service) providerKey(ctx context.Context, provider, name string) (*store.ProviderKey, error) {
	rows, err := s.db.LoadCatalog(ctx)
	if err != nil {
		return nil, err
	}
	keys, err := s.db.AllProviderKeys(ctx)
	if err != nil {
		return nil, err
	}
	for i := range rows.Providers {
		for j := range keys {
			if rows.Providers[i].Slug == provider && keys[j].ProviderID == rows.Providers[i].ID && keys[j].Name == name {
				return &keys[j], nil
			}
		}
	}
	return nil, store.ErrNotFound
}

// ProviderSecret opens a credential that a test call is made with. It must not leave the
// process but to the provider.
func (s *Service) ProviderSecret(ctx context.Context, provider, name string) (string, error) {
	k, err := s.providerKey(ctx, provider, name)
	if err != nil {
		return "", refused(err, "key of provider "+clip(provider)+":", name)
	}
	return s.db.ProviderSecret(ctx, s.box, k.ID)
}

// CreateModel adds a model, or an auto model.
func (s *Service) CreateModel(ctx context.Context, actor store.Actor, m catalogfile.Model) (store.Applied, error) {
	return s.edit(ctx, actor, "create", "model", m.ID, func(f *catalogfile.File) error {
		if slices.ContainsFunc(f.Models, func(o catalogfile.Model) bool { return o.ID == m.ID }) {
			return exists("model", m.ID)
		}
		f.Models = append(f.Models, m)
		return nil
	})
}

// PatchModel changes a model: its names, tags, routes, what it stands for.
func (s *Service) PatchModel(ctx context.Context, actor store.Actor, action, id string, change func(*catalogfile.Model) error) (store.Applied, error) {
	return s.edit(ctx, actor, action, "model", id, func(f *catalogfile.File) error {
		for i := range f.Models {
			if f.Models[i].ID == id {
				return change(&f.Models[i])
			}
		}
		return store.ErrNotFound
	})
}

// DisableModel takes a model out of the catalogue.
func (s *Service) DisableModel(ctx context.Context, actor store.Actor, id string) error {
	err := s.db.DisableModel(ctx, actor, id)
	if errors.Is(err, store.ErrConflict) {
		return apierr.Invalid("model", "an auto model or a group names this model: change those first").WithCause(err)
	}
	return refused(err, "model", id)
}
