import test from 'ava'
import { driverContract, watch } from '../../../test/contracts/driver-contract.ts'
import { createSimDriver } from './sim-driver.ts'

driverContract(test, { open: async () => ({ driver: createSimDriver({ delayMs: 1 }) }) })

test('an abort ends the delay', async (t) => {
  const cancel = new AbortController()
  const creating = createSimDriver({ delayMs: 3_600_000 }).create('a', { ...watch, signal: cancel.signal })
  cancel.abort()
  await t.throwsAsync(creating, { code: 'cancelled' })
})
