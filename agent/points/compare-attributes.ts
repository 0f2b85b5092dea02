import type { Member } from '../archive/member.ts'
import { StreamReader } from '../archive/read/stream-reader.ts'
import type { TarBytes } from '../archive/read/tar-bytes.ts'
import { readEntry } from '../archive/read/tar-parser.ts'
import { BLOCK, paxRecord } from '../archive/tar-header.ts'
import { AttributeRecords } from '../archive/write/attribute-records.ts'
import { cString, libc } from '../native/libc.ts'
import { lastErrorCode } from '../native/system-error.ts'

const ATTRIBUTE = /^SCHILY\.(?:xattr\.|acl\.(?:access|default)$)/
const XATTR = 'SCHILY.xattr.'
const ACLS: Readonly<Record<string, string>> = {
  'SCHILY.acl.access': 'system.posix_acl_access',
  'SCHILY.acl.default': 'system.posix_acl_default',
}
/** The system labels what is new by its own rules; capabilities are the only ones among these that people give. */
const OF_THE_SYSTEM = /^SCHILY\.xattr\.(?:security\.(?!capability$)|system\.)/
/** Whoever is not root can neither set nor see these. */
const OF_ROOT = /^SCHILY\.xattr\.(?:trusted|security)\./

/** Compares extended attributes, ACLs and capabilities with those of a member's header. Owns its scratch space: one a comparison. */
export class AttributeComparison {
  readonly #records = new AttributeRecords()
  readonly #isRoot = process.geteuid?.() === 0

  /**
   * Indexes tell nothing of attributes: the header is read where it is longer than one that has none.
   * @param path `/proc/self/fd/N/name`, NUL-terminated; its last component is not followed
   * @throws corrupt, SystemError
   */
  async isAsStored(member: Member, archive: TarBytes, path: Buffer): Promise<boolean> {
    const headerBytes = member.dataOffset - member.offset
    const header = headerBytes > BLOCK ? await archive.read(member.offset, headerBytes) : undefined
    const stored = header === undefined ? new Map<string, string>() : storedIn(header)
    const found = new Set(this.#records.ofPath(path).map((record) => record.toString('latin1')))
    for (const [key, record] of stored) {
      if (found.delete(record) || (!this.#isRoot && OF_ROOT.test(key))) continue
      if (!isUnknownHere(key, path)) return false
    }
    return [...found].every((record) => OF_THE_SYSTEM.test(keyOf(record)))
  }
}

/** Records by their keys. */
function storedIn(header: Buffer): ReadonlyMap<string, string> {
  const pieces = [header]
  const entry = readEntry(new StreamReader(() => pieces.pop()))
  const found = [...(entry?.attributes ?? [])].filter(([key]) => ATTRIBUTE.test(key))
  return new Map(found.map(([key, value]) => [key, paxRecord(key, value).toString('latin1')]))
}

function keyOf(record: string): string {
  return record.slice(record.indexOf(' ') + 1, record.indexOf('='))
}

/** What the file system has no place for was left out when it was restored, as tar does. */
function isUnknownHere(key: string, path: Buffer): boolean {
  const plain = key.slice(XATTR.length).replaceAll('%3D', '=').replaceAll('%25', '%')
  const name = ACLS[key] ?? plain
  const result = libc().lgetxattr(path, cString(Buffer.from(name, 'latin1')), Buffer.alloc(1), 0)
  return result < 0 && lastErrorCode() === 'EOPNOTSUPP'
}
