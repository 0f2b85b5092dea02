const MIB = 2 ** 20
/** S3's own bounds: 10,000 parts, all but the last at least 5 MiB. */
const MAX_PARTS = 10_000
const STEPS: readonly (readonly [fromPart: number, bytes: number])[] = [
  [5_001, 64 * MIB],
  [2_001, 24 * MIB],
  [1, 8 * MIB],
]
/** Parts of one upload that are filled or under way. */
export const MAX_BUFFERED_BYTES = 32 * MIB

/**
 * Parts begin small, as sizes are not known beforehand and memory is bounded, and grow so that 10,000 of them hold 408 GiB.
 * @param part from 1. @returns bytes; undefined when there may be no such part
 */
export function partSize(part: number): number | undefined {
  if (part > MAX_PARTS) return undefined
  return STEPS.find(([fromPart]) => part >= fromPart)?.[1]
}
