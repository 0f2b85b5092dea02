import { hasTgt } from '../../agent/export/open-exports.ts'
import { lacksInitiator } from './initiator.ts'
import { lacksTool } from './system-packages.ts'

/** Why whole jobs about exports cannot be run on this machine. */
export function lacksExports(): string | undefined {
  const missing = lacksTool('tgtd', 'mkfs.btrfs', 'mkfs.xfs') ?? lacksInitiator()
  if (missing !== undefined) return missing
  return hasTgt() ? undefined : 'mounting a loop image needs root'
}
