import { createFileVolumes } from '../../agent/volumes/file/file-volumes.ts'
import type { FillMode } from '../../agent/volumes/file/staging.ts'
import { watch } from '../contracts/driver-contract.ts'

/** Clones `golden@s` and destroys the clones again, for whoever kills this process: `volume-churn.ts <pool> <mode>`. */
const [, , path = '', mode = 'share'] = process.argv
const volumes = await createFileVolumes(path, mode as FillMode) // as: whoever starts this says one of them
const source = { volume: 'golden', snapshot: 's' }
const requests = Array.from({ length: 6 }, (_, n) => ({ source, target: `c/n${n}`, createParent: true }))
process.stdout.write('begun\n')
for (let round = 0; ; round += 1) {
  await volumes.clone(requests, watch)
  await volumes.snapshot({ volume: 'c/n5', snapshot: `r${round}` }, watch)
  await volumes.destroySnapshot('c/n5', `r${round}`, watch)
  for (const { target } of requests) await volumes.destroy(target, watch)
}
