import type { Progress } from '../../shared/job-event.ts'

/** What the rate is measured over. */
const WINDOW_MS = 10_000
/** Told again so often although nothing moves: a rate that falls is news. */
const REPEAT_MS = 2_000
/** Two looks at least so far apart make a rate. */
const MIN_SPAN_MS = 500

interface Look {
  readonly atMs: number
  readonly bytes: number
}

/** Adds the rate, and with a total the percentage and the time that is left, to what is told of a work. */
export class Rated implements Disposable {
  readonly #tell: (progress: Progress) => void
  readonly #now: () => number
  readonly #looks: Look[] = []
  readonly #timer: NodeJS.Timeout
  readonly #totals: Totals
  #last: Progress | undefined

  constructor(tell: (progress: Progress) => void, totals: Totals = {}, now: () => number = () => performance.now()) {
    this.#tell = tell
    this.#now = now
    this.#totals = totals
    this.#timer = setInterval(() => this.#last && this.#say(this.#last), REPEAT_MS)
    this.#timer.unref()
  }

  readonly progress = (progress: Progress): void => {
    this.#last = progress
    this.#say(progress)
  };

  [Symbol.dispose](): void {
    clearInterval(this.#timer)
  }

  #say(progress: Progress): void {
    const { bytes } = progress
    if (bytes === undefined) {
      this.#tell(progress)
      return
    }
    const bytesPerSecond = this.#rateAt({ atMs: this.#now(), bytes })
    this.#tell({
      ...progress,
      ...this.#totalsBehind(progress),
      ...(bytesPerSecond === undefined ? {} : { bytesPerSecond }),
      ...this.#ahead(bytes, bytesPerSecond),
    })
  }

  /** Totals are what the last time had: passed, they were none of this one's. */
  #totalsBehind({ bytes = 0, files = 0 }: Progress): Totals {
    const { totalBytes = -1, totalFiles = -1 } = this.#totals
    return { ...(bytes <= totalBytes ? { totalBytes } : {}), ...(files <= totalFiles ? { totalFiles } : {}) }
  }

  #rateAt(look: Look): number | undefined {
    const last = this.#looks.at(-1)
    // Bytes that fall are of a new phase.
    if (last !== undefined && look.bytes < last.bytes) this.#looks.length = 0
    this.#looks.push(look)
    while ((this.#looks[1]?.atMs ?? Number.POSITIVE_INFINITY) <= look.atMs - WINDOW_MS) this.#looks.shift()
    const [first] = this.#looks
    if (first === undefined || look.atMs - first.atMs < MIN_SPAN_MS) return undefined
    return Math.round(((look.bytes - first.bytes) * 1_000) / (look.atMs - first.atMs))
  }

  #ahead(bytes: number, bytesPerSecond: number | undefined): Pick<Progress, 'percent' | 'secondsLeft'> {
    const { totalBytes } = this.#totals
    if (totalBytes === undefined || totalBytes < bytes || totalBytes === 0) return {}
    const percent = Math.floor((1_000 * bytes) / totalBytes) / 10
    if (bytesPerSecond === undefined || bytesPerSecond === 0) return { percent }
    return { percent, secondsLeft: Math.ceil((totalBytes - bytes) / bytesPerSecond) }
  }
}

export interface Totals {
  readonly totalBytes?: number
  readonly totalFiles?: number
}
