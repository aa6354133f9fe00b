package price

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"tokenrelay/shared/money"
	"tokenrelay/shared/usage"
)

// The cases in testdata/*.test are written in a line language that a
// non-programmer can read and extend:
//
//	rule NAME VERSION class price …   a price row; price is USD per million units with /M, else USD per unit
//	tier ABOVE class price …          a tier of the last rule, above so many input tokens
//	free class …                      classes of the last rule that are free
//	multiplier model|group|client N … from here on, for the last rule
//	use class count …                 as most providers count: the cached and written tokens are inside input
//	units class count …               disjoint counts
//	charge USD | overflow | negative  what the last use costs
//	bound what count … [text]         the most a request can consume
//	ceiling USD | unpriced            what has to be held for it
//	outputfor USD N | none | any      the most output tokens per choice that the budget covers
//	refused class price               a price that must be refused
//
// A # begins a comment.
type script struct {
	rule  Rule
	base  map[string]string
	free  []string
	tiers []Tier
	units usage.Units
	bound Bound
}

func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.test")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			s, checks := new(script), 0
			for i, line := range strings.Split(string(text), "\n") {
				line, _, _ = strings.Cut(line, "#")
				words := strings.Fields(line)
				if len(words) == 0 {
					continue
				}
				checked, err := s.run(words)
				if err != nil {
					t.Errorf("%s:%d: %s: %v", file, i+1, strings.TrimSpace(line), err)
				}
				if checked {
					checks++
				}
			}
			if checks == 0 {
				t.Error("the script checks nothing")
			}
		})
	}
}

func className(word string) string {
	if word == "cached" {
		return "cache_read"
	}
	return word
}

func (s *script) run(words []string) (check bool, err error) {
	args := words[1:]
	switch words[0] {
	case "rule":
		s.base, s.free, s.tiers = map[string]string{}, nil, nil
		s.rule = Rule{ModelPPM: PPM, GroupPPM: PPM, ClientPPM: PPM}
		s.base, err = readPrices(args[2:])
		return false, s.build(err)
	case "free":
		for _, name := range args {
			s.free = append(s.free, className(name))
		}
		return false, s.build(nil)
	case "tier":
		above, err := strconv.ParseInt(args[0], 10, 64)
		if err != nil {
			return false, err
		}
		prices, err := readPrices(args[1:])
		if err != nil {
			return false, err
		}
		table, err := ParseTable(prices, s.free)
		s.tiers = append(s.tiers, Tier{AboveInput: above, Table: table})
		return false, s.build(err)
	case "multiplier":
		for i := 0; i+1 < len(args); i += 2 {
			ppm, err := ParsePPM(args[i+1])
			if err != nil {
				return false, err
			}
			switch args[i] {
			case "model":
				s.rule.ModelPPM = ppm
			case "group":
				s.rule.GroupPPM = ppm
			case "client":
				s.rule.ClientPPM = ppm
			default:
				return false, fmt.Errorf("whose multiplier is %q", args[i])
			}
		}
		return false, nil
	case "use", "units":
		s.units = usage.Units{}
		for i := 0; i+1 < len(args); i += 2 {
			c, ok := usage.ParseClass(className(args[i]))
			n, err := strconv.ParseInt(args[i+1], 10, 64)
			if !ok || err != nil {
				return false, fmt.Errorf("cannot read %s %s", args[i], args[i+1])
			}
			s.units[c] = n
		}
		if words[0] == "use" {
			s.units[usage.Input] -= s.units[usage.CacheRead] + s.units[usage.CacheWrite] + s.units[usage.CacheWrite1h]
		}
		return false, nil
	case "charge":
		got, err := s.rule.Charge(&s.units)
		return true, compareMoney(got, err, args[0])
	case "bound":
		s.bound = Bound{}
		for i := 0; i < len(args); i += 2 {
			if args[i] == "text" {
				s.bound.TextOutput = true
				break
			}
			n, err := strconv.ParseInt(args[i+1], 10, 64)
			if err != nil {
				return false, err
			}
			field := map[string]*int64{
				"input": &s.bound.InputTokens, "audio": &s.bound.AudioTokens, "image": &s.bound.ImageTokens,
				"output": &s.bound.OutputTokens, "choices": &s.bound.Choices, "characters": &s.bound.Characters,
				"seconds": &s.bound.Seconds, "images": &s.bound.Images, "searches": &s.bound.Searches,
			}[args[i]]
			if field == nil {
				return false, fmt.Errorf("no bound %q", args[i])
			}
			*field = n
		}
		return false, nil
	case "ceiling":
		got, err := s.rule.Ceiling(&s.bound)
		return true, compareMoney(got, err, args[0])
	case "outputfor":
		budget, err := money.ParseUSD(args[0])
		if err != nil {
			return true, err
		}
		want := int64(-1)
		switch args[1] {
		case "none":
		case "any":
			want = 1<<63 - 1
		default:
			if want, err = strconv.ParseInt(args[1], 10, 64); err != nil {
				return true, err
			}
		}
		if got := s.rule.OutputFor(&s.bound, budget); got != want {
			return true, fmt.Errorf("got %d", got)
		}
		return true, nil
	case "refused":
		if t, err := ParseTable(map[string]string{className(args[0]): args[1]}, nil); err == nil {
			return true, fmt.Errorf("was accepted as %v", t.Rates)
		}
		return true, nil
	}
	return false, fmt.Errorf("no such command")
}

func (s *script) build(err error) error {
	if err != nil {
		return err
	}
	table, err := ParseTable(s.base, s.free)
	if err != nil {
		return err
	}
	s.rule.Version = &Version{ID: 1, Base: table, Tiers: s.tiers}
	return s.rule.Version.Validate()
}

func readPrices(words []string) (map[string]string, error) {
	prices := make(map[string]string)
	for i := 0; i+1 < len(words); i += 2 {
		name := className(words[i])
		c, ok := usage.ParseClass(name)
		text, million := strings.CutSuffix(words[i+1], "/M")
		if !ok || million != usage.ClassSet(perMillion).Has(c) {
			return nil, fmt.Errorf("cannot read the price %s %s", words[i], words[i+1])
		}
		prices[name] = text
	}
	return prices, nil
}

func compareMoney(got money.Amount, err error, want string) error {
	for word, e := range map[string]error{"overflow": money.ErrOverflow, "negative": ErrNegative, "unpriced": ErrUnpriced} {
		if want == word {
			if !errors.Is(err, e) {
				return fmt.Errorf("got %s: %w", got, err)
			}
			return nil
		}
	}
	if err != nil {
		return err
	}
	if got.String() != want {
		return fmt.Errorf("got %s", got)
	}
	return nil
}
