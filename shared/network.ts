/** Addresses of others, as what they count by. */

import { isIPv6 } from 'node:net'

/** An IPv4 address that came over an IPv6 socket is the IPv4 address. */
export function plainAddress(address: string): string {
  return address.replace(/^::ffff:(?=[0-9.]+$)/i, '')
}

/** An IPv6 address counts as its network of 64 bits, since one machine has as many addresses within it as it likes. */
export function networkOf(address: string): string {
  const plain = plainAddress(address.replace(/%.*$/, '').toLowerCase())
  if (!isIPv6(plain)) return plain
  const [head = '', tail] = plain.split('::')
  const before = head === '' ? [] : head.split(':')
  const after = tail === undefined || tail === '' ? [] : tail.split(':')
  // Four bytes in dotted form at the end are two groups.
  const groups = before.length + after.length + (plain.includes('.') ? 1 : 0)
  const whole = tail === undefined ? before : [...before, ...Array<string>(Math.max(0, 8 - groups)).fill('0'), ...after]
  const network = whole.slice(0, 4).map((group) => Number.parseInt(group, 16).toString(16))
  return `${network.join(':')}::/64`
}
