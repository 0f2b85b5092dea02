import { isIPv6 } from 'node:net'

/** What a provider gives one customer, who picks among the addresses in it at will. */
const IPV6_GROUPS = 4
const GROUPS = 8

/** Whom an address stands for when tries are counted: an IPv4 address, or the /64 of an IPv6 address. */
export function addressRange(address: string): string {
  const [plain = ''] = address.split('%')
  if (!isIPv6(plain)) return address
  const [head = '', tail] = plain.split('::')
  const groupsOf = (text: string) => text.split(':').filter((group) => group !== '')
  const before = groupsOf(head)
  // An IPv4 address at the end takes the place of two groups, all of them beyond those that count.
  const after = groupsOf(tail ?? '').flatMap((group) => (group.includes('.') ? [group, ''] : [group]))
  const zeros = tail === undefined ? 0 : GROUPS - before.length - after.length
  const groups = [...before, ...Array.from({ length: zeros }, () => '0'), ...after]
  const range = groups.slice(0, IPV6_GROUPS).map((group) => Number.parseInt(group, 16).toString(16))
  return `${range.join(':')}::/64`
}
