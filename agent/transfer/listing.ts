import { FleetError } from '../../shared/errors.ts'
import { compareNames, isName } from './target-path.ts'
import type { Entry, Page } from './transfer.ts'

/** A directory that holds more is refused rather than kept in memory. */
const MAX_ENTRIES = 100_000
const PAGE_ENTRIES = 1000

/** Gathers what a server lists all at once; names that no path could hold are left out. */
export class Listing {
  readonly #entries: Entry[] = []
  #told = 0

  /** @throws FleetError `too_large` */
  add(entry: Entry): void {
    this.#told += 1
    if (this.#told > MAX_ENTRIES)
      throw new FleetError('too_large', `the directory holds more than ${MAX_ENTRIES} entries`)
    if (isName(entry.name)) this.#entries.push(entry)
  }

  /** @param cursor the last name of the page before */
  page(cursor: string | undefined): Page {
    const sorted = this.#entries.toSorted((left, right) => compareNames(left.name, right.name))
    const rest = cursor === undefined ? sorted : sorted.filter(({ name }) => compareNames(name, cursor) > 0)
    const entries = rest.slice(0, PAGE_ENTRIES)
    return { entries, cursor: rest.length > PAGE_ENTRIES ? entries.at(-1)?.name : undefined }
  }
}
