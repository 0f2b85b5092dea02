import { FleetError } from '../../shared/errors.ts'

/** Without a byte or an answer for so long, a connection is given up. */
export const STALL_MS = 30_000

export interface Patience {
  readonly signal: AbortSignal
  readonly stallMs: number
  /** Ends what is waited for, when the signal or the time does; its late rejection is nobody's. */
  readonly giveUp: (reason: FleetError) => void
}

/**
 * Waits for something that the other side must do.
 * @throws FleetError `cancelled`; `timeout` after `stallMs`
 */
export function patiently<Result>(work: Promise<Result>, options: Patience): Promise<Result> {
  return new Promise((resolve, reject) => {
    const end = (reason: FleetError) => {
      clear()
      reject(reason)
      options.giveUp(reason)
    }
    const onAbort = () => end(new FleetError('cancelled', 'cancelled'))
    const timer = setTimeout(() => end(new FleetError('timeout', 'stopped answering')), options.stallMs)
    const clear = () => {
      clearTimeout(timer)
      options.signal.removeEventListener('abort', onAbort)
    }
    options.signal.addEventListener('abort', onAbort, { once: true })
    work.then(
      (result) => {
        clear()
        resolve(result)
      },
      (error: unknown) => {
        clear()
        reject(error)
      },
    )
    if (options.signal.aborted) onAbort()
  })
}
