import test from 'ava'
import { createLogger } from '../../shared/logger.ts'
import { createSimDriver } from '../drivers/sim/sim-driver.ts'
import { createInventory, inventoryHash } from './inventory.ts'

test('a pool that is away, or does not answer, keeps no other from being told of', async (t) => {
  let broken: Error | undefined
  let asked = 0
  const sound = createSimDriver({})
  const breaking = {
    ...sound,
    usage: async () => {
      if (broken !== undefined) throw broken
      return { sizeBytes: 100, freeBytes: 60 }
    },
  }
  const answer = Promise.withResolvers<{ sizeBytes: number; freeBytes: number }>()
  const hanging = {
    ...sound,
    usage: () => {
      asked += 1
      return answer.promise
    },
  }
  const pools = new Map([
    ['breaking', breaking],
    ['hanging', hanging],
  ])
  const own = { slots: 1, restorePaths: [], sourcePaths: [], backupRoot: '/b', initiator: undefined }
  const take = createInventory({ version: 'x', ...own, pools }, createLogger('agent', 'silent'), 10)
  const usages = (inventory: Awaited<ReturnType<typeof take>>) =>
    inventory.pools.map(({ name, sizeBytes, freeBytes }) => [name, sizeBytes, freeBytes])
  const before = await take()
  t.deepEqual(usages(before), [
    ['breaking', 100, 60],
    ['hanging', 0, 0],
  ])
  broken = new Error('ENOENT: no such file or directory')
  const away = await take()
  t.deepEqual(usages(away)[0], ['breaking', 100, 0])
  t.is(inventoryHash(away), inventoryHash(before))
  t.is(asked, 1)
  broken = undefined
  answer.resolve({ sizeBytes: 10, freeBytes: 5 })
  await take()
  t.deepEqual(usages(await take()), [
    ['breaking', 100, 60],
    ['hanging', 10, 5],
  ])
})
