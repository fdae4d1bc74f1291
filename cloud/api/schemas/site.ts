/** A site as the API shows and takes it. */

import { Type } from '@sinclair/typebox'
import type { Site } from '../../registry/site-store.ts'
import { closed, NameSchema, SiteIdSchema, TimeSchema, time } from './common.ts'

export const SiteSchema = Type.Object(
  { id: SiteIdSchema, name: NameSchema, createdAt: TimeSchema, updatedAt: TimeSchema },
  { ...closed, $id: 'Site', description: 'A substation' },
)

export const NewSiteSchema = Type.Object(
  { id: SiteIdSchema, name: Type.Optional(NameSchema) },
  { ...closed, $id: 'NewSite', description: 'The id is chosen by whoever names the MQTT topics' },
)

export const SiteChangesSchema = Type.Object(
  { name: Type.Optional(NameSchema) },
  { ...closed, minProperties: 1, $id: 'SiteChanges' },
)

export function siteBody(site: Site) {
  return { id: site.id, name: site.name, createdAt: time(site.createdAtMs), updatedAt: time(site.updatedAtMs) }
}
