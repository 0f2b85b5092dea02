import { BlockList, isIP, isIPv4 } from 'node:net'

/** An address and port that no target may be: one of the fleet's own listeners. */
export interface Listener {
  /** An address or a name; `0.0.0.0` and `::` mean every address of this machine. */
  readonly host: string
  readonly port: number
}

export interface AddressPolicy {
  readonly allowLoopback: boolean
  readonly listeners: readonly Listener[]
  /** This machine's own addresses. */
  readonly ownAddresses: () => readonly string[]
}

const NEVER = blockList([
  ['0.0.0.0', 8, 'is no address of a host'],
  ['169.254.0.0', 16, 'is link-local'],
  ['100.100.100.200', 32, 'is a metadata service'],
  ['168.63.129.16', 32, 'is a metadata service'],
  ['192.0.0.0', 24, 'is a metadata service or reserved'],
  ['224.0.0.0', 4, 'is a group of hosts'],
  ['240.0.0.0', 4, 'is reserved'],
  ['::', 128, 'is no address of a host'],
  ['fe80::', 10, 'is link-local'],
  ['fec0::', 10, 'is site-local'],
  ['fd00:ec2::', 32, 'is a metadata service'],
  ['fd20:ce::', 32, 'is a metadata service'],
  ['ff00::', 8, 'is a group of hosts'],
  ['100::', 64, 'is no address of a host'],
  ['2001::', 32, 'hides another address'],
  ['64:ff9b:1::', 48, 'hides another address'],
])
const LOOPBACK = blockList([
  ['127.0.0.0', 8, 'is this machine itself'],
  ['::1', 128, 'is this machine itself'],
])

type Block = readonly [network: string, prefix: number, why: string]

function blockList(blocks: readonly Block[]): readonly (readonly [list: BlockList, why: string])[] {
  return blocks.map(([network, prefix, why]) => {
    const list = new BlockList()
    list.addSubnet(network, prefix, familyOf(network))
    return [list, why] as const
  })
}

function familyOf(address: string): 'ipv4' | 'ipv6' {
  return isIPv4(address) ? 'ipv4' : 'ipv6'
}

function match(blocks: typeof NEVER, address: string): string | undefined {
  return blocks.find(([list]) => list.check(address, familyOf(address)))?.[1]
}

/**
 * Why an address must not be connected to; undefined when it may. An IPv4 address inside an IPv6 one (mapped, compatible,
 * 6to4, NAT64) is judged as itself.
 * @param address as a resolver returns it, never a name
 * @param listeners the policy's, their names resolved
 */
export function whyDenied(
  endpoint: { readonly address: string; readonly port: number },
  policy: AddressPolicy,
  listeners: readonly Listener[] = policy.listeners,
): string | undefined {
  const address = plainAddress(endpoint.address)
  if (isIP(address) === 0) return 'is no address'
  const never = match(NEVER, address)
  if (never !== undefined) return never
  const local = isLoopback(address)
  if (local && !policy.allowLoopback) return match(LOOPBACK, address)
  const own = local || policy.ownAddresses().map(plainAddress).includes(address)
  const meets = ({ host, port }: Listener) => {
    const listening = plainAddress(host)
    if (port !== endpoint.port) return false
    if (listening === address) return true
    return own && (isWildcard(listening) || (local && isLoopback(listening)))
  }
  return listeners.some(meets) ? "is the fleet's own" : undefined
}

function isLoopback(address: string): boolean {
  return isIP(address) !== 0 && match(LOOPBACK, address) !== undefined
}

function isWildcard(address: string): boolean {
  return address === '0.0.0.0' || address === '::'
}

/** In one spelling, without a zone; the IPv4 address inside an IPv6 one where there is one. Names pass unchanged. */
export function plainAddress(text: string): string {
  const address = text.replace(/^\[(.*)\]$/, '$1').replace(/%.*$/, '')
  if (isIP(address) !== 6) return address
  const words = wordsOf(address)
  const embedded = embeddedAt(words)
  if (embedded !== undefined) return embedded
  return new URL(`http://[${address}]/`).hostname.slice(1, -1)
}

function wordsOf(address: string): readonly number[] {
  // The URL parser writes the dotted tail of `::ffff:1.2.3.4` as words.
  const spelled = new URL(`http://[${address}]/`).hostname.slice(1, -1)
  const [head = '', tail = ''] = spelled.split('::')
  const left = head === '' ? [] : head.split(':')
  const right = tail === '' ? [] : tail.split(':')
  const zeros = Array.from({ length: 8 - left.length - right.length }, () => '0')
  return [...left, ...zeros, ...right].map((word) => Number.parseInt(word, 16))
}

function embeddedAt(words: readonly number[]): string | undefined {
  const zeros = (from: number, to: number) => words.slice(from, to).every((word) => word === 0)
  const dotted = (at: number) => {
    const [high = 0, low = 0] = words.slice(at, at + 2)
    return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`
  }
  const compatible = zeros(0, 6) && !(zeros(6, 7) && (words[7] ?? 0) <= 1)
  if (compatible || (zeros(0, 5) && words[5] === 0xffff) || (zeros(0, 4) && words[4] === 0xffff && words[5] === 0))
    return dotted(6)
  if (words[0] === 0x64 && words[1] === 0xff9b && zeros(2, 6)) return dotted(6)
  if (words[0] === 0x2002) return dotted(1)
  return undefined
}
