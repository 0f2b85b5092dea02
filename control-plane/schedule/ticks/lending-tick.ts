import { toFleetError } from '../../../shared/errors.ts'
import type { Logger } from '../../../shared/logger.ts'
import { isCode } from '../../core/backup-rules.ts'
import { type Loan, type LoanPhase, PENDING_PHASES } from '../../core/loans.ts'
import { borrowing, type LendingDeps } from './lending-steps.ts'
import { returning } from './returning-steps.ts'

/** Of one round, and rounds of one tick, so that it ends: what has come to its next phase is due at once. */
const LIMIT = 10
const MAX_ROUNDS = 8
const FIRST_WAIT_MS = 1_000
const LAST_WAIT_MS = 15_000
/** Between two tries to give back what cannot be given back now. */
const LAST_RETRY_MS = 300_000
const MINUTE_MS = 60_000

/** How long a phase may take, with all that it is refused meanwhile; others take as long as they take. */
const PATIENCE_MS: Partial<Record<LoanPhase, number>> = {
  snapshot: 60 * MINUTE_MS,
  copy: 48 * 60 * MINUTE_MS,
  reserve: 60 * MINUTE_MS,
  connect: 30 * MINUTE_MS,
}

/** Takes what is borrowed of the block service behind us on, one step at a time, and gives it back whatever became of it. */
export function createLendingTick(
  deps: LendingDeps & { readonly now: () => Promise<number>; readonly logger: Logger },
): () => Promise<void> {
  const { store, now, logger } = deps
  const steps = { ...borrowing(deps), ...returning(deps) }

  const isPending = (loan: Loan) => PENDING_PHASES.some((phase) => phase === loan.phase)

  async function advance(loan: Loan): Promise<void> {
    const { id, phase, looks } = loan
    const waitMs = Math.min(FIRST_WAIT_MS * 2 ** Math.min(looks - 1, 20), LAST_WAIT_MS)
    try {
      const isWaiting = (await steps[phase](loan)) === 'wait'
      if (!isWaiting) return
      const late = lateness(loan, await now())
      if (late === undefined) await store.wait(loan, waitMs)
      else await store.fail(loan, late)
    } catch (error) {
      const { code, message } = toFleetError(error)
      logger.warn({ event: 'loan.step-failed', loan: id, phase, code, error: String(error) })
      const isPassing = isCode(error, 'unavailable', 'busy', 'timeout') && lateness(loan, await now()) === undefined
      if (isPending(loan) && !isPassing) await store.fail(loan, message)
      else await store.wait(loan, isPending(loan) ? waitMs : Math.min(waitMs * 2 ** Math.min(looks, 8), LAST_RETRY_MS))
    }
  }

  return async () => {
    for (let round = 0; round < MAX_ROUNDS; round += 1) {
      const due = await store.claim(LIMIT)
      if (due.length === 0) return
      // Each waits for the other service, not for one another.
      await Promise.all(due.map(advance))
    }
  }
}

function lateness({ phase, phaseAt }: Loan, nowMs: number): string | undefined {
  const patienceMs = PATIENCE_MS[phase]
  if (patienceMs === undefined || nowMs - phaseAt.getTime() < patienceMs) return undefined
  return `${DOING[phase] ?? phase} took longer than ${patienceMs / MINUTE_MS} minutes`
}

const DOING: Partial<Record<LoanPhase, string>> = {
  snapshot: 'the snapshot in the block service',
  copy: 'the volume of the snapshot in the block service',
  reserve: 'the new volume in the block service',
  connect: 'the connection to the volume',
}
