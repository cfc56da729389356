// The function app and its plan: Flex Consumption, or an App Service plan. Its settings are in settings.bicep.
import { Tags } from '../types.bicep'

param name string
param location string
param tags Tags
param identityId string
param deploymentContainerUrl string

@description('On an App Service plan of planSize; else on Flex Consumption, with instances of instanceMemoryMB.')
param dedicated bool
param planSize string
param alwaysReady int
param instanceMemoryMB int
param maximumInstances int
param zoneRedundant bool

@description('Anybody may call the app; else only the subnet or the addresses named here.')
param openToAll bool
param onlySubnetId string
param onlyAddresses string[]

@description('Notifications that one Flex instance receives at a time; the rest of its threads stay free for the 202.')
param httpConcurrency int = 16

var fromSubnet = { name: 'gateway', action: 'Allow', priority: 100, vnetSubnetResourceId: onlySubnetId }
var fromGraph = [for (address, number) in onlyAddresses: {
  name: 'graph-${number}'
  action: 'Allow'
  priority: 100 + number
  ipAddress: address
}]

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  name: name
  location: location
  tags: tags
  kind: dedicated ? 'linux' : 'functionapp'
  sku: dedicated ? { name: planSize, capacity: alwaysReady } : { name: 'FC1', tier: 'FlexConsumption' }
  properties: { reserved: true, zoneRedundant: zoneRedundant }
}

resource app 'Microsoft.Web/sites@2025-03-01' = {
  name: name
  location: location
  tags: tags
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identityId}': {} }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    keyVaultReferenceIdentity: identityId
    functionAppConfig: dedicated ? null : {
      runtime: { name: 'python', version: '3.13' }
      deployment: {
        storage: {
          type: 'blobContainer'
          value: deploymentContainerUrl
          authentication: { type: 'UserAssignedIdentity', userAssignedIdentityResourceId: identityId }
        }
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstances
        alwaysReady: [{ name: 'http', instanceCount: alwaysReady }]
        triggers: { http: { perInstanceConcurrency: httpConcurrency } }
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      // These four are for App Service plans: Flex Consumption has its own.
      linuxFxVersion: dedicated ? 'PYTHON|3.13' : null
      alwaysOn: dedicated ? true : null
      ftpsState: dedicated ? 'Disabled' : null
      healthCheckPath: dedicated ? '/' : null
      ipSecurityRestrictionsDefaultAction: openToAll ? 'Allow' : 'Deny'
      ipSecurityRestrictions: openToAll ? [] : (empty(onlySubnetId) ? fromGraph : [fromSubnet])
      // Deploying goes through this other site, which asks for an Entra token.
      scmIpSecurityRestrictionsUseMain: false
      scmIpSecurityRestrictionsDefaultAction: 'Allow'
    }
  }

  resource noPasswordToDeploy 'basicPublishingCredentialsPolicies' = {
    name: 'scm'
    properties: { allow: false }
  }

  resource noPasswordForFtp 'basicPublishingCredentialsPolicies' = {
    name: 'ftp'
    properties: { allow: false }
  }
}

output id string = app.id
output planId string = plan.id
output name string = app.name
output hostName string = app.properties.defaultHostName
