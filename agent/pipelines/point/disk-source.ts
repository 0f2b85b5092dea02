import type { ImageContent } from '../../points/series-image.ts'

/** What sources of disks have in common: nobody writes to what is read, and changes are told by chunks, not by a list. */
export abstract class DiskSource {
  readonly asksForBase = false
  readonly whole = undefined
  /** A disk's content as the power would leave it. */
  readonly atomic = true

  read<Result>(_watch: unknown, act: () => Promise<Result>): Promise<Result> {
    return act()
  }

  async settled(): Promise<undefined> {}

  async changes(): Promise<undefined> {}
}

/** @param properties for people, and for whoever makes such a disk anew */
export function imageOf(properties: Readonly<Record<string, unknown>>): ImageContent {
  return { files: { 'properties.json': Buffer.from(`${JSON.stringify(properties, undefined, 2)}\n`) } }
}
