import { constants, readlinkSync } from 'node:fs'
import { FleetError } from '../../../shared/errors.ts'
import { close, openWithoutLinks } from '../../native/paths.ts'
import { asFleetError } from '../../native/system-error.ts'
import type { PipelineTools } from '../pipeline.ts'
import { isForbidden } from '../restore/destination.ts'
import { componentsOf } from '../restore/inner-path.ts'

/**
 * A directory of the host that may be backed up, open for reading. No link of its path is followed, so it is where its path says;
 * then its real path is compared with what the agent keeps for itself.
 * @throws refused, not_found, invalid
 */
export function openPathSource(path: string, tools: PipelineTools): number {
  const wanted = `/${[...componentsOf(path, 'source'), ''].join('/')}`.replace(/^\/+/, '/')
  if (!tools.points.sourcePaths.some((allowed) => wanted.startsWith(allowed)))
    throw new FleetError('refused', `'${path}' is outside the directories that this host allows to be backed up`)
  const fd = open(wanted, path)
  try {
    if (isForbidden(readlinkSync(`/proc/self/fd/${fd}`), tools.forbiddenPaths))
      throw new FleetError('refused', `'${path}' holds, or is part of, what the agent keeps for itself`)
    return fd
  } catch (error) {
    close(fd)
    throw error
  }
}

function open(wanted: string, path: string): number {
  try {
    return openWithoutLinks(wanted, constants.O_RDONLY | constants.O_DIRECTORY)
  } catch (error) {
    throw asFleetError(error, `backup of '${path}'`)
  }
}
