package api

import (
	"net/netip"
	"strings"

	"github.com/gofiber/fiber/v2"
)

// clientIP is the address the request came from: the peer's, or, where the peer is
// a trusted proxy, the right-most hop of X-Forwarded-For that is not one (D15).
// A peer on this machine is trusted: the data plane forwards from there, and on
// the default listen address nobody else can be the peer.
// Fiber's own IP() with a ProxyHeader would believe anybody (reliability 2.4).
func clientIP(c *fiber.Ctx, trusted []netip.Prefix) netip.Addr {
	peer, ok := netip.AddrFromSlice(c.Context().RemoteIP())
	if !ok {
		return netip.Addr{}
	}
	peer = peer.Unmap()
	var hops []string
	for _, h := range c.Request().Header.PeekAll(fiber.HeaderXForwardedFor) {
		hops = append(hops, strings.Split(string(h), ",")...)
	}
	ip := peer
	for i := len(hops) - 1; i >= 0 && isTrusted(ip, trusted); i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		ip = hop.Unmap()
	}
	return ip
}

// peerTrusted tells whether what X-Forwarded-… says may be believed.
func peerTrusted(c *fiber.Ctx, trusted []netip.Prefix) bool {
	peer, ok := netip.AddrFromSlice(c.Context().RemoteIP())
	return ok && isTrusted(peer.Unmap(), trusted)
}

func isTrusted(ip netip.Addr, trusted []netip.Prefix) bool {
	if ip.IsLoopback() {
		return true
	}
	for _, p := range trusted {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}
