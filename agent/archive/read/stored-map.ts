import { FleetError } from '../../../shared/errors.ts'
import { displayPath } from '../byte-path.ts'
import type { Member } from '../member.ts'
import { BLOCK, paddingOf } from '../tar-header.ts'
import { checkExtents, type Extent, type HoleMap, MAX_EXTENTS, wholeNumber } from './pax-fields.ts'
import type { TarBytes } from './tar-bytes.ts'

/** A number of sixteen digits at the most, and what ends its line. */
const LINE_BYTES = 17

/**
 * The map of a member with holes, by its index line: decimal numbers, a line each: how many extents, then offset and size of each; filled
 * up to a block. @throws corrupt
 */
export async function readStoredMap(member: Member, archive: TarBytes): Promise<HoleMap> {
  const count = wholeNumber(await firstLine(member, archive))
  if (count > MAX_EXTENTS) throw damaged(member)
  const most = (1 + 2 * count) * LINE_BYTES
  const text = (await archive.read(member.dataOffset, Math.min(most + paddingOf(most), member.storedSize))).toString(
    'latin1',
  )
  const extents: Extent[] = []
  let at = text.indexOf('\n') + 1
  const next = () => {
    const end = text.indexOf('\n', at)
    if (end < 0) throw damaged(member)
    const number = wholeNumber(text.slice(at, end))
    at = end + 1
    return number
  }
  while (extents.length < count) extents.push({ offset: next(), size: next() })
  checkExtents(extents, member.size)
  const length = at + paddingOf(at)
  if (extents.reduce((sum, { size }) => sum + size, length) !== member.storedSize) throw damaged(member)
  return { extents, bytes: await archive.read(member.dataOffset, length) }
}

async function firstLine(member: Member, archive: TarBytes): Promise<string> {
  const block = (await archive.read(member.dataOffset, Math.min(BLOCK, member.storedSize))).toString('latin1')
  return block.slice(0, block.indexOf('\n'))
}

function damaged({ path }: Member): FleetError {
  return new FleetError('corrupt', `member '${displayPath(path)}': the map of its holes is damaged`)
}
