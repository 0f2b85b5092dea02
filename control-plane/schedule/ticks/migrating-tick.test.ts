import test from 'ava'
import { createLogger } from '../../../shared/logger.ts'
import type { MoveTickStore, OwedMove } from '../../db/stores/move-tick-store.ts'
import { createMigratingTick } from './migrating-tick.ts'

test('a migration that cannot be taken on holds up no other', async (t) => {
  const moves = ['odd', 'plain'].map((id) => ({
    ...{ id, stepId: id, tries: 0, end: null },
    standing: { phase: 'copy', outcome: null, isStopped: true, isUnsure: false, wasRunning: null, denials: 0 },
  }))
  const turned: string[] = []
  let owed = moves
  const store: Partial<MoveTickStore> = {
    underWay: async () => [],
    async claim() {
      const claimed = owed
      owed = []
      // as: all that is looked at of one that somebody stopped
      return claimed as unknown as OwedMove[]
    },
    async turn({ id }) {
      if (id === 'odd') throw new TypeError('a row that is none')
      turned.push(id)
    },
  }
  const tick = createMigratingTick({
    store,
    now: async () => 0,
    logger: createLogger('test', 'silent'),
    // as: nothing else is asked
  } as unknown as Parameters<typeof createMigratingTick>[0])
  await tick()
  t.deepEqual(turned, ['plain'])
})
