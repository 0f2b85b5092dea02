import { readConfig } from '../shared/config.ts'
import { runProcess } from '../shared/run-process.ts'
import { ControlPlaneConfig } from './config.ts'
import { startControlPlane } from './context.ts'

await runProcess(() => startControlPlane(readConfig(ControlPlaneConfig, process.env)))
