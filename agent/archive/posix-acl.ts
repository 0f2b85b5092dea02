/** `struct posix_acl_xattr_header` and its entries, linux/posix_acl_xattr.h: version 2, then (tag, perm, id). */
const VERSION = 2
const HEADER_BYTES = 4
const ENTRY_BYTES = 8
const UNDEFINED_ID = 0xffffffff

const TAGS: readonly (readonly [tag: number, word: string, named: boolean])[] = [
  [0x01, 'user', false],
  [0x02, 'user', true],
  [0x04, 'group', false],
  [0x08, 'group', true],
  [0x10, 'mask', false],
  [0x20, 'other', false],
]

/** @returns `user::rw-,user:1000:r--,…` with numbers, which both tars read; undefined for a layout that is not known */
export function aclText(value: Buffer): string | undefined {
  if (value.length < HEADER_BYTES || value.readUInt32LE(0) !== VERSION) return undefined
  const words: string[] = []
  for (let at = HEADER_BYTES; at + ENTRY_BYTES <= value.length; at += ENTRY_BYTES) {
    const tag = TAGS.find(([number]) => number === value.readUInt16LE(at))
    if (tag === undefined) return undefined
    const permissions = value.readUInt16LE(at + 2)
    const who = tag[2] ? String(value.readUInt32LE(at + 4)) : ''
    const bits = `${permissions & 4 ? 'r' : '-'}${permissions & 2 ? 'w' : '-'}${permissions & 1 ? 'x' : '-'}`
    words.push(`${tag[1]}:${who}:${bits}`)
  }
  return words.join(',')
}

/** The other way; names without a number (`user:alice:rw-`) are looked for in star's fourth field, else refused. */
export function aclValue(text: string): Buffer | undefined {
  const entries: (readonly [tag: number, permissions: number, id: number])[] = []
  for (const word of text.split(/[,\n]/)) {
    const entry = word.replace(/#.*/, '').trim()
    if (entry === '') continue
    const parsed = parseWord(entry)
    if (parsed === undefined) return undefined
    entries.push(parsed)
  }
  entries.sort(([tagA, , idA], [tagB, , idB]) => tagA - tagB || idA - idB)
  const value = Buffer.alloc(HEADER_BYTES + entries.length * ENTRY_BYTES)
  value.writeUInt32LE(VERSION, 0)
  for (const [index, [tag, permissions, id]] of entries.entries()) {
    const at = HEADER_BYTES + index * ENTRY_BYTES
    value.writeUInt16LE(tag, at)
    value.writeUInt16LE(permissions, at + 2)
    value.writeUInt32LE(id, at + 4)
  }
  return value
}

function parseWord(entry: string): readonly [number, number, number] | undefined {
  const [word = '', who = '', bits = '', number] = entry.split(':')
  const named = who !== ''
  const tag = TAGS.find(([, tagWord, tagNamed]) => tagWord.startsWith(word) && word !== '' && tagNamed === named)
  const id = number ?? who
  if (tag === undefined || !/^[rwx-]{1,3}$/.test(bits) || (named && !/^\d{1,10}$/.test(id))) return undefined
  const permissions = (bits.includes('r') ? 4 : 0) | (bits.includes('w') ? 2 : 0) | (bits.includes('x') ? 1 : 0)
  return [tag[0], permissions, named ? Number(id) : UNDEFINED_ID]
}
