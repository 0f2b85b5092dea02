import { z } from 'zod'

const Note = z.object({ clones: z.base64(), exports: z.base64(), committed: z.boolean() })

/**
 * What a job about a list of exports is about to make: by their places in the list, the clones and the exports that were not there when
 * it first looked. Written before any is made, so that whatever ends the agent they are taken back, or told as made and not as found.
 */
export interface MakingNote {
  readonly clones: Set<number>
  readonly exports: Set<number>
  /** From then on nothing is taken back. */
  committed: boolean
}

/** A bit an element: 400 bytes for a thousand of them. */
export function encodeNote({ clones, exports, committed }: MakingNote): string {
  return JSON.stringify({
    clones: bitsOf(clones),
    exports: bitsOf(exports),
    committed,
  } satisfies z.infer<typeof Note>)
}

/** Undefined where nothing was noted. */
export function parseNote(staged: string | undefined): MakingNote | undefined {
  if (!staged) return undefined
  const { clones, exports, committed } = Note.parse(JSON.parse(staged))
  return { clones: placesOf(clones), exports: placesOf(exports), committed }
}

function bitsOf(places: ReadonlySet<number>): string {
  const bits = Buffer.alloc(places.size === 0 ? 0 : 1 + (Math.max(...places) >> 3))
  for (const place of places) bits[place >> 3] = (bits[place >> 3] ?? 0) | (1 << (place & 7))
  return bits.toString('base64')
}

function placesOf(text: string): Set<number> {
  const bits = Buffer.from(text, 'base64')
  const places = Array.from({ length: bits.length * 8 }, (_, place) => place)
  return new Set(places.filter((place) => ((bits[place >> 3] ?? 0) >> (place & 7)) & 1))
}
