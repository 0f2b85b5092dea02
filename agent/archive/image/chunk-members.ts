import { hash as hashOf } from 'node:crypto'
import { FleetError } from '../../../shared/errors.ts'
import { displayPath } from '../byte-path.ts'
import type { Chain, ChainMember } from '../chain.ts'
import type { Member } from '../member.ts'
import { CHUNKS, chunkCount, chunkLength, chunkNumberOf, type ImageShape, shapeText, VOLUME } from './image-shape.ts'

/**
 * The chunks of a point, in order, each once and as large as it must be: nobody knows who wrote the index.
 * @throws corrupt, naming the member
 */
export async function* chunkMembers(
  chain: Chain,
  shape: ImageShape,
  signal: AbortSignal,
): AsyncGenerator<ChainMember & { readonly number: number }> {
  let [next, hasShape] = [0, false]
  for await (const found of chain.members('', signal)) {
    const { path, type, hash } = found.member
    const number = chunkNumberOf(path)
    if (number !== undefined) {
      if (number < next || !isChunk(found.member, shape, number)) throw strange(path)
      next = number + 1
      yield { ...found, number }
    } else if (path === VOLUME) {
      // The shape is told by the archives' tables; this is what whoever has no Holdfast restores by.
      if (hash !== hashOf('sha256', shapeText(shape))) throw strange(path)
      hasShape = true
    } else if (type !== 'directory' || (path !== '' && path !== CHUNKS)) throw strange(path)
  }
  if (!hasShape) throw strange(VOLUME)
}

/** @throws corrupt */
export async function* chunkNumbers(chain: Chain, shape: ImageShape, signal: AbortSignal): AsyncGenerator<number> {
  for await (const { number } of chunkMembers(chain, shape, signal)) yield number
}

function isChunk({ type, links, holes, hash, size, storedSize }: Member, shape: ImageShape, number: number): boolean {
  if (type !== 'file' || links !== 1 || holes || hash === undefined || number >= chunkCount(shape)) return false
  return size === storedSize && size === chunkLength(shape, number)
}

function strange(path: string): FleetError {
  return new FleetError('corrupt', `member '${displayPath(path)}': it is not what the archive of a volume holds there`)
}
