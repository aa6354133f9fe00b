package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// ParseBool reads a switch.
func ParseBool(v string) (bool, error) {
	switch strings.ToLower(v) {
	case "on", "true", "yes", "1":
		return true, nil
	case "off", "false", "no", "0":
		return false, nil
	}
	return false, errors.New("must be on or off")
}

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"kB", 1e3},
	{"KB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"B", 1},
	{"", 1},
}

// ParseSize reads a whole number of bytes with its unit: 8KiB, 32MiB, 500kB, 4096.
func ParseSize(v string) (int64, error) {
	digits := 0
	for digits < len(v) && v[digits] >= '0' && v[digits] <= '9' {
		digits++
	}
	n, err := strconv.ParseInt(v[:digits], 10, 64)
	if err != nil {
		return 0, errors.New("must be a size like 8KiB, 32MiB or 1GiB")
	}
	for _, u := range sizeUnits {
		if v[digits:] != u.suffix {
			continue
		}
		if n > (1<<62)/u.bytes {
			return 0, errors.New("is too large")
		}
		return n * u.bytes, nil
	}
	return 0, errors.New("must be a size like 8KiB, 32MiB or 1GiB")
}

// FormatSize writes a number of bytes in the largest binary unit that is exact.
func FormatSize(n int64) string {
	for i := 3; i >= 0; i-- {
		if u := sizeUnits[i]; n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.suffix
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

// ParsePrefixes reads a comma-separated list of CIDRs or single addresses; a prefix
// with host bits set is refused, because it says something other than it means.
func ParsePrefixes(v string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for part := range strings.SplitSeq(v, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		if addr, err := netip.ParseAddr(part); err == nil {
			if addr.Zone() != "" {
				return nil, fmt.Errorf("%q has a zone", part)
			}
			addr = addr.Unmap()
			list = append(list, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(part)
		if err != nil {
			return nil, fmt.Errorf("%q is not an address or a CIDR", part)
		}
		if p.Masked() != p {
			return nil, fmt.Errorf("%q has bits set behind its length: %s is meant?", part, p.Masked())
		}
		list = append(list, p)
	}
	return list, nil
}
