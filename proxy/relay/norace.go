//go:build !race

package relay

const poisons = false
