import { FleetError } from '../../../shared/errors.ts'
import { type ExportAccess, ExportSecrets } from '../../../shared/volume-spec.ts'
import type { Chap } from '../../export/export-keeper.ts'
import type { PipelineTools, StepContext } from '../pipeline.ts'

/** CHAP's secrets by wwn, as they came sealed beside the order. @throws refused */
export function openSecrets(
  { secret, jobId }: Pick<StepContext, 'secret' | 'jobId'>,
  { unseal }: Pick<PipelineTools, 'unseal'>,
): ExportSecrets {
  if (secret === undefined) return {}
  if (unseal === undefined)
    throw new FleetError('refused', 'this host has no key of its own, so it can be sent no secret: enrol it')
  try {
    return ExportSecrets.parse(JSON.parse(unseal(Buffer.from(secret, 'base64'), `order/${jobId}`).toString()))
  } catch {
    // Without the cause: it may quote what was inside.
    throw new FleetError('refused', 'the CHAP secrets were not sealed for this host and this use')
  }
}

/** @throws refused: an export that is to ask for a secret is never made without one */
export function chapOf(secrets: ExportSecrets, wanted: { readonly wwn: string; readonly access: ExportAccess }): Chap {
  const { chapUser } = wanted.access
  if (chapUser === null) return undefined
  const secret = Object.hasOwn(secrets, wanted.wwn) ? secrets[wanted.wwn] : undefined
  if (secret === undefined) throw new FleetError('refused', 'no CHAP secret came for this export')
  return { user: chapUser, secret }
}
