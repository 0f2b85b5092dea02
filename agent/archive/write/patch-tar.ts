import type { BytePath } from '../byte-path.ts'
import { FLAGS, HeaderEncoder, paddingOf } from '../tar-header.ts'
import { RANGE_UNIT } from './changed-ranges.ts'
import type { Extent } from './hole-map.ts'

/**
 * For plain tar, which knows no patches: beside the file that has the changed bytes in their places, a list of these places in units of 4 KiB
 * (`first count`, a line each) and a symbolic link to the file that they belong to. `restore.sh` copies them there.
 */
export function patchTar(
  path: BytePath,
  { name, ranges }: { readonly name: BytePath; readonly ranges: readonly Extent[] },
): Uint8Array<ArrayBuffer> {
  const list = Buffer.from(
    ranges.map(({ offset, size }) => `${offset / RANGE_UNIT} ${Math.ceil(size / RANGE_UNIT)}\n`).join(''),
  )
  const encoder = new HeaderEncoder()
  const own = { uid: 0, gid: 0, mtime: '0.000000000', major: 0, minor: 0, records: [] }
  const ends = { name: `./${name}.ranges`, flag: FLAGS.file, mode: 0o600, size: list.length, link: '' }
  const listHeader = Buffer.from(encoder.encode({ ...own, ...ends }))
  const place = { name: `./${name}.file`, flag: FLAGS.symlink, mode: 0o777, size: 0, link: `../${path}` }
  const linkHeader = Buffer.from(encoder.encode({ ...own, ...place }))
  return new Uint8Array(Buffer.concat([listHeader, list, Buffer.alloc(paddingOf(list.length)), linkHeader]))
}
