import { FleetError } from '../../shared/errors.ts'

/** How much goes on with one target at a time; who comes later waits in order. */
export class Slots {
  #free: number
  readonly #waiting: (() => void)[] = []

  constructor(count: number) {
    this.#free = count
  }

  /** @returns gives the slot back, once. @throws FleetError `cancelled` */
  async take(signal: AbortSignal): Promise<() => void> {
    if (signal.aborted) throw new FleetError('cancelled', 'cancelled')
    if (this.#free > 0) this.#free -= 1
    else await this.#turn(signal)
    return this.#held()
  }

  /** @returns gives the slot back, once; undefined where one would have to wait */
  takeFree(): (() => void) | undefined {
    if (this.#free === 0) return undefined
    this.#free -= 1
    return this.#held()
  }

  #held(): () => void {
    let held = true
    return () => {
      if (!held) return
      held = false
      const next = this.#waiting.shift()
      if (next === undefined) this.#free += 1
      else next()
    }
  }

  #turn(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const proceed = () => {
        signal.removeEventListener('abort', leave)
        resolve()
      }
      const leave = () => {
        this.#waiting.splice(this.#waiting.indexOf(proceed), 1)
        reject(new FleetError('cancelled', 'cancelled'))
      }
      this.#waiting.push(proceed)
      signal.addEventListener('abort', leave, { once: true })
    })
  }
}
