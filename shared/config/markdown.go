package config

import "strings"

// Markdown is the reference page of all settings, docs/config.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString(`# Settings

Written by ` + "`make gen`" + ` from shared/config/settings.go; do not edit.

Each setting is an environment variable and a flag of the processes that read it. A flag wins over a
variable, an empty variable counts as absent, an unknown flag or an invalid value ends the process at start
with the name and the reason. A secret may be given as ` + "`NAME_FILE=/path`" + ` instead. Durations and sizes
carry their unit. ` + "`proxy --help`" + ` and ` + "`admin serve --help`" + ` print the same.

Operator commands (every ` + "`admin`" + ` command but ` + "`serve`" + `) read ` + "`RELAY_DATA_DIR/run.env`" + `, which ` + "`make run`" + ` keeps, for
settings that are absent.

| setting | flag | process | values | default | meaning |
| --- | --- | --- | --- | --- | --- |
`)
	proxy, admin := proxySet(new(Proxy)), adminSet(new(Admin))
	for _, set := range []*Set{proxy, admin} {
		for _, x := range set.settings {
			process := "proxy"
			if set == admin {
				process = "admin"
			}
			if other := proxy.byFlag[x.Flag]; other != nil && admin.byFlag[x.Flag] != nil {
				if set == admin {
					continue
				}
				process = "both"
			}
			def := "`" + x.Default + "`"
			switch {
			case x.required && x.Default == "":
				def = "required"
			case x.Default == "":
				def = "none"
			}
			kind := strings.ReplaceAll(x.Kind, "|", "\\|")
			if x.secret {
				kind += ", secret"
			}
			b.WriteString("| `" + x.Name + "` | `--" + x.Flag + "` | " + process + " | " + kind + " | " + def + " | " + x.Doc + " |\n")
		}
	}
	return b.String()
}
