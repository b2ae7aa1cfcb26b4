// Three types of VK_EXT_layer_settings (Vulkan 1.3.272), which llama.cpp names whether it uses them or not. Debian 12 has the headers
// of 1.3.239. They are read by a validation layer that understands them, if somebody installed one, and skipped by everything else.
#pragma once
#include <vulkan/vulkan_core.h>

#if VK_HEADER_VERSION < 272
#include <cstdint>
#include <vector>

namespace vk {

enum class LayerSettingTypeEXT : std::int32_t { eBool32 = 0 };

// VkLayerSettingEXT
struct LayerSettingEXT {
    const char * layer;
    const char * name;
    LayerSettingTypeEXT type;
    std::uint32_t count;
    const void * values;
};

// VkLayerSettingsCreateInfoEXT
struct LayerSettingsCreateInfoEXT {
    explicit LayerSettingsCreateInfoEXT(const std::vector<LayerSettingEXT> & all)
        : count(static_cast<std::uint32_t>(all.size())), settings(all.data()) {}

    VkStructureType type = static_cast<VkStructureType>(1000496000);
    const void * next = nullptr;
    std::uint32_t count;
    const LayerSettingEXT * settings;
};

}
#endif
