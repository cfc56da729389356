// The page that shows every promise of the app: infra/workbook.json, drawn by Azure Monitor.
import { Tags } from '../types.bicep'

param location string
param tags Tags
param workspaceId string

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, 'graph-relay-workbook')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'Graph Relay'
    category: 'workbook'
    sourceId: workspaceId
    serializedData: loadTextContent('../workbook.json')
  }
}
