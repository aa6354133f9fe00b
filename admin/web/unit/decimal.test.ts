import { expect, test } from 'vitest';
import { add, compare, isDecimal, share, subtract, times, usd } from '../src/decimal';

// Amounts never pass through a binary floating point number: these would not survive one.
test('amounts are exact', () => {
  expect(add('0.1', '0.2')).toBe('0.3');
  expect(add('9007199254740993', '0.000000001')).toBe('9007199254740993.000000001');
  expect(add()).toBe('0');
  expect(subtract('1', '1.000000001')).toBe('-0.000000001');
  expect(subtract('1', '-1')).toBe('2');
  expect(times('0.000000001', 500)).toBe('0.0000005');
  expect(compare('10', '9.999999999')).toBe(1);
  expect(compare('-2', '1')).toBe(-1);
  expect(compare('1.50', '1.5')).toBe(0);
  expect(share('1', '3')).toBe(33.3);
  expect(share('1', '0')).toBe(0);
});

test('amounts are written to their last digit', () => {
  expect(usd('1234567.123456789')).toBe('$1,234,567.123456789');
  expect(usd('0')).toBe('$0.00');
  expect(usd('5')).toBe('$5.00');
  expect(usd('-0.5')).toBe('−$0.50');
  expect(usd('0.000000001')).toBe('$0.000000001');
});

test('what is typed as an amount is checked', () => {
  for (const good of ['25', '0.50', '0.000000001', '-1']) expect(isDecimal(good), good).toBe(true);
  for (const bad of ['', 'x', '1e3', '1,5', '.5', '5.', '0.0000000001', '+1', '٣', '1 ', '0x10', '9999999999999']) expect(isDecimal(bad), bad).toBe(false);
});
