import { FleetError } from '../../shared/errors.ts'

/** How often a change is decided anew because somebody else's came between: only conditions like `If-Match: *` outlive one. */
const TRIES = 8

/**
 * Reads a thing, decides, and writes to that version of it only; reads again when it has another one by then.
 * @param write gives undefined when the version was not there any more.
 * @throws what `read` throws, `stale` among it; busy when others always come between.
 */
export async function changeVersion<Thing, Result>(
  read: () => Promise<Thing>,
  write: (current: Thing) => Promise<Result | undefined>,
): Promise<Result> {
  for (let tries = 1; tries <= TRIES; tries += 1) {
    const result = await write(await read())
    if (result !== undefined) return result
  }
  throw new FleetError('busy', 'too many change this at once')
}
