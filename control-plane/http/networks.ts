import { BlockList, isIP } from 'node:net'
import { ROLES, type Role } from '../core/caller.ts'
import type { Shown } from '../core/credentials.ts'

/** A range of peers whose requests need no credentials. */
export interface TrustedNetwork {
  readonly cidr: string
  readonly role: Role
}

export interface Range {
  readonly address: string
  readonly prefix: number
  readonly family: 'ipv4' | 'ipv6'
}

/** `10.0.0.0/8`, `fd00::/8`, or one address. @throws Error with words for the operator. */
export function parseRange(cidr: string): Range {
  const [address = '', length] = cidr.split('/')
  const version = isIP(address)
  const longest = version === 4 ? 32 : 128
  const prefix = length === undefined ? longest : Number(length)
  const usable = version !== 0 && length !== '' && Number.isInteger(prefix) && prefix >= 0 && prefix <= longest
  if (!usable) throw new Error(`'${cidr}' is not a network such as 10.0.0.0/8 or fd00::/8`)
  return { address, prefix, family: version === 4 ? 'ipv4' : 'ipv6' }
}

/** `127.0.0.0/8=admin,10.0.0.0/8=viewer`; empty: none. @throws Error with words for the operator. */
export function parseTrustedNetworks(text: string): readonly TrustedNetwork[] {
  const entries = text.split(',').map((entry) => entry.trim())
  return entries.filter(Boolean).map((entry) => {
    const [cidr = '', word] = entry.split('=')
    parseRange(cidr)
    const role = ROLES.find((known) => known === word)
    if (!role) throw new Error(`'${entry}': the role must be one of ${ROLES.join(', ')}`)
    return { cidr, role }
  })
}

/** `::ffff:10.0.0.1` is what a dual-stack socket says for 10.0.0.1. */
export function plainAddress(address: string): string {
  return address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address
}

/** A set of addresses. */
export function createAddressSet(cidrs: readonly string[]): (address: string) => boolean {
  const list = new BlockList()
  for (const { address, prefix, family } of cidrs.map(parseRange)) list.addSubnet(address, prefix, family)
  return (address) => {
    const version = isIP(address)
    return version !== 0 && list.check(address, version === 4 ? 'ipv4' : 'ipv6')
  }
}

/** Peers come back: a look-up in Node's BlockList costs 3 µs each time. */
const KNOWN_ADDRESSES_MAX = 4096

/** Gives the credential that an address is; where networks overlap the narrowest decides. */
export function createNetworkCredentials(networks: readonly TrustedNetwork[]): (address: string) => Shown | undefined {
  const narrowestFirst = networks
    .map(({ cidr, role }) => {
      const shown: Shown = { kind: 'network', id: cidr, role }
      return { prefix: parseRange(cidr).prefix, contains: createAddressSet([cidr]), shown }
    })
    .toSorted((left, right) => right.prefix - left.prefix)
  const find = (address: string) => narrowestFirst.find(({ contains }) => contains(address))?.shown
  const known = new Map<string, Shown | undefined>()
  return (address) => {
    if (known.has(address)) return known.get(address)
    if (known.size >= KNOWN_ADDRESSES_MAX) known.clear()
    const shown = find(address)
    known.set(address, shown)
    return shown
  }
}
