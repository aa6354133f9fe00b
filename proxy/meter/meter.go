// Package meter counts what passes when the provider does not say, estimates
// tokens from bytes (rulings 1.10), and decides which figures are believed at the
// end: the provider's, or our own count where the provider's are impossible
// (C8 … C10).
package meter
