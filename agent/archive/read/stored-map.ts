import { FleetError } from '../../../shared/errors.ts'
import { displayPath } from '../byte-path.ts'
import type { Member } from '../member.ts'
import { BLOCK, paddingOf } from '../tar-header.ts'
import { checkExtents, type Extent, type HoleMap } from './pax-fields.ts'
import type { TarBytes } from './tar-bytes.ts'

/**
 * The map of a member with holes, by its index line: decimal numbers, a line each: how many extents, then offset and size of each; filled
 * up to a block. @throws corrupt
 */
export async function readStoredMap(member: Member, archive: TarBytes): Promise<HoleMap> {
  for (let length = Math.min(BLOCK, member.storedSize); ; length = Math.min(2 * length, member.storedSize)) {
    const map = mapIn(await archive.read(member.dataOffset, length))
    if (map !== undefined) {
      checkExtents(map.extents, member.size)
      return map
    }
    if (length === member.storedSize)
      throw new FleetError('corrupt', `member '${displayPath(member.path)}': the map of its holes is damaged`)
  }
}

/** @returns undefined where it is not all there */
function mapIn(bytes: Buffer): HoleMap | undefined {
  const lines = bytes.toString('latin1').split('\n')
  const numbers = 1 + 2 * Number(lines[0])
  // The last piece is what follows the last newline.
  if (!Number.isSafeInteger(numbers) || lines.length - 1 < numbers) return undefined
  const own = lines.slice(0, numbers)
  const extents: Extent[] = []
  for (let at = 1; at < numbers; at += 2) extents.push({ offset: Number(own[at]), size: Number(own[at + 1]) })
  const length = own.reduce((sum, line) => sum + line.length + 1, 0)
  return { extents, bytes: bytes.subarray(0, length + paddingOf(length)) }
}
