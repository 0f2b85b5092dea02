import { randomUUID } from 'node:crypto'
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readdirSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import test, { type ExecutionContext, type TestFn } from 'ava'
import { type VolumeSubject, volumeContract } from '../../../test/contracts/volume-contract.ts'
import { canMount, sharedMounts } from '../../../test/harness/loop-mount.ts'
import { createSimVolumes } from '../sim/sim-volumes.ts'
import { createFileVolumes } from './file-volumes.ts'

const shared = sharedMounts(test)

const POOLS = [
  { mode: 'share', on: 'xfs' },
  { mode: 'share', on: 'btrfs' },
  { mode: 'copy', on: 'ext4' },
] as const

/** The same test under a title that tells the pool. */
function titled(prefix: string): TestFn {
  const prefixed = (title: string, body: (t: ExecutionContext) => unknown) => test(`${prefix}: ${title}`, body)
  // The contract only ever calls `test(title, body)`.
  return prefixed as TestFn
}

const disk: VolumeSubject['disk'] = {
  write(device, text) {
    const fd = openSync(device, 'r+')
    writeSync(fd, text)
    fsyncSync(fd)
    closeSync(fd)
  },
  read(device, bytes) {
    const fd = openSync(device, 'r')
    const buffer = Buffer.alloc(bytes)
    readSync(fd, buffer)
    closeSync(fd)
    return buffer.toString()
  },
}

function namesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : []
}

for (const { mode, on } of POOLS) {
  volumeContract(titled(`${mode} on ${on}`), {
    async open(t) {
      if (!canMount(t)) return undefined
      const path = join(shared(on), randomUUID())
      mkdirSync(path)
      const volumes = await createFileVolumes(path, mode)
      const litter = () => ['.staged', '.points'].flatMap((name) => namesIn(join(path, 'volumes', name)))
      return { volumes, disk, litter }
    },
  })
}

volumeContract(titled('sim'), { open: async () => ({ volumes: createSimVolumes() }) })
