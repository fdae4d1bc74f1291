/**
 * The way a request came: who asks, over TLS or not, and for which host. A proxy that is named in the config is believed
 * about those; of anybody else what the connection itself says counts.
 */

import { BlockList, isIP, isIPv6 } from 'node:net'
import { BusbarError } from '../../../shared/errors.ts'
import { isLoopback } from '../../../shared/loopback.ts'
import { plainAddress } from '../../../shared/network.ts'
import type { Client } from './route.ts'

export interface Arrival extends Client {
  /** Host and port that were asked for, in lower case; null when the request does not say. */
  readonly host: string | null
}

/** Addresses of a chain of proxies that are looked at; a header may hold thousands. */
const HOPS_MAX = 32

/** The proxies that are believed. */
export class TrustedProxies {
  private readonly list = new BlockList()
  /** True when there are any: then nobody else may connect, but this machine. */
  readonly named: boolean

  /**
   * @param proxies IP addresses or networks such as `10.0.0.0/24`.
   * @throws BusbarError API_PROXY_INVALID
   */
  constructor(proxies: readonly string[]) {
    this.named = proxies.length > 0
    for (const proxy of proxies) {
      try {
        this.add(proxy)
      } catch (cause) {
        throw new BusbarError(`api.trustedProxies names ${proxy}, which is neither an IP address nor a network`, {
          code: 'API_PROXY_INVALID',
          hint: 'Write an address such as 10.0.0.7, or a network such as 10.0.0.0/24.',
          cause,
        })
      }
    }
  }

  has(address: string): boolean {
    return this.named && isIP(address) !== 0 && this.list.check(address, familyOf(address))
  }

  /** False for a connection that goes past the proxies. */
  admits(peer: string): boolean {
    return !this.named || isLoopback(peer) || this.has(peer)
  }

  private add(proxy: string): void {
    const [address = '', prefix] = proxy.split('/')
    if (isIP(address) === 0) throw new Error('no address')
    if (prefix === undefined) this.list.addAddress(address, familyOf(address))
    else this.list.addSubnet(address, Number(prefix), familyOf(address))
  }
}

/**
 * @param peer address of the other end of the connection, as plainAddress gives it.
 * @param tls whether the connection is over TLS.
 */
export function arrivalOf(
  { headers }: Pick<Request, 'headers'>,
  peer: string,
  tls: boolean,
  proxies: TrustedProxies,
): Arrival {
  const host = headers.get('host')?.toLowerCase() ?? null
  if (!proxies.has(peer)) return { address: peer, secure: tls, host }
  const proto = lastOf(headers.get('x-forwarded-proto'))
  return {
    address: askerOf(headers.get('x-forwarded-for'), peer, proxies),
    secure: proto === null ? tls : proto.toLowerCase() === 'https',
    host: lastOf(headers.get('x-forwarded-host'))?.toLowerCase() ?? host,
  }
}

/**
 * Each proxy appends whom it was asked by, so that from the right everything up to the first who is no proxy of ours is
 * true; further left stands whatever somebody liked to write.
 */
function askerOf(forwardedFor: string | null, peer: string, proxies: TrustedProxies): string {
  let asker = peer
  for (const hop of (forwardedFor ?? '').split(',').slice(-HOPS_MAX).reverse()) {
    const address = plainAddress(withoutPort(hop.trim()))
    if (isIP(address) === 0) break
    asker = address
    if (!proxies.has(address)) break
  }
  return asker
}

/** Some proxies write `1.2.3.4:5678` or `[::1]:5678`. */
function withoutPort(hop: string): string {
  return hop.replace(/^\[([0-9a-f:.]+)\](:[0-9]+)?$/i, '$1').replace(/^([0-9.]+):[0-9]+$/, '$1')
}

function lastOf(header: string | null): string | null {
  return header?.split(',').at(-1)?.trim() || null
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIPv6(address) ? 'ipv6' : 'ipv4'
}
